"""``avikam bench engine``: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avikam.cli.bench import app


def test_a_size_without_weights_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    asked = ["--dummy", "avikam1-nano", "--seconds", "0.01", "--streams", "1,4", "--out", str(out)]
    done = CliRunner().invoke(app, ["engine", *asked])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert list(found["decode"]) == ["1", "4"]
    assert found["first_token_512_ms"] > 0
    assert "first token of 512" in done.output
    assert found["shares"] is None, "a CPU has no yardstick here"
    assert "decode   4 streams" in done.output


@pytest.mark.parametrize("streams", ["", "1,many", "4,0"])
def test_streams_that_are_no_numbers_are_refused(streams: str) -> None:
    done = CliRunner().invoke(app, ["engine", "--streams", streams])
    assert done.exit_code == 2
    assert f"--streams is {streams!r}" in done.output


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    done = CliRunner().invoke(app, ["engine", "--dummy", "avikam1-9b"])
    assert done.exit_code != 0
    assert "unknown model size 'avikam1-9b'" in done.output
