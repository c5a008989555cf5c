"""``avikam kv inspect`` reads blocks and tells damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avikam.cli.kv import app
from avikam.engine.build import slot_cache
from avikam.engine.kv.block import BlockFormat
from avikam.engine.kv.keys import seal_key, token_bytes
from tests.model.builders import small_config

KEY = b"k" * 32


def write_block(file: Path, secret: str = "") -> Path:
    cache = slot_cache(small_config(), 1, "int8")
    blocks, tokens = BlockFormat(cache, "exact"), token_bytes(range(20))
    file.write_bytes(blocks.encode(cache.snapshot(0, 20), KEY, tokens, seal_key(secret, KEY)))
    return file


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return write_block(tmp_path / "block")


def test_a_block_is_described(block: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(block), "--json"])
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (facts["tokens"], facts["form"], facts["seal"]) == (20, "exact", "matches")
    assert len(facts["layers"]) == 2
    assert facts["bytes"] == block.stat().st_size


def test_what_redis_cli_printed_is_read_too(block: Path) -> None:
    block.write_bytes(block.read_bytes() + b"\n")
    result = CliRunner().invoke(app, ["inspect", str(block)])
    assert result.exit_code == 0
    assert "seal     matches" in result.stdout


def test_damage_shows(block: Path) -> None:
    data = bytearray(block.read_bytes())
    data[-1] ^= 1
    block.write_bytes(data)
    result = CliRunner().invoke(app, ["inspect", str(block)])
    assert result.exit_code == 1
    assert "does not match" in result.stdout


def test_a_sealed_block_needs_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = write_block(tmp_path / "block", "ours")
    assert CliRunner().invoke(app, ["inspect", str(block)]).exit_code == 1
    monkeypatch.setenv("AVIKAM_WORKER__KV_SECRET", "ours")
    assert CliRunner().invoke(app, ["inspect", str(block)]).exit_code == 0


def test_the_secret_may_be_a_mounted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = write_block(tmp_path / "block", "ours")
    (tmp_path / "secret").write_text("ours\n")
    monkeypatch.setenv("AVIKAM_WORKER__KV_SECRET_FILE", str(tmp_path / "secret"))
    assert CliRunner().invoke(app, ["inspect", str(block)]).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"AVKV" + bytes(60)])
def test_what_is_no_block_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["inspect", str(file)])
    assert result.exit_code == 2
    assert "error: " in result.stderr
