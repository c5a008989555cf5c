"""Backups: whole, private, and refused when anything about them is wrong."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from avikam.model.manifest import manifest_problems
from avikam.worker.settings import embedded_model
from tests.cli.processes import run_avikam


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The embedded model, an adapter and a key file."""
    keys, adapters = tmp_path / "keys.yaml", tmp_path / "adapters"
    assert run_avikam("keys", "add", "me", "--file", str(keys)).returncode == 0
    (adapters / "law").mkdir(parents=True)
    (adapters / "law" / "adapter_config.json").write_text("{}")
    path = tmp_path / "backup.tar"
    done = run_avikam(
        *("backup", str(path), "--model", str(embedded_model())),
        *("--adapters", str(adapters), "--keys", str(keys)),
    )
    assert done.returncode == 0, done.stderr
    return path


def test_what_is_restored_is_what_was_saved(archive: Path, tmp_path: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "restored"
    done = run_avikam("restore", str(archive), "--to", str(folder))
    assert done.returncode == 0, done.stderr
    assert manifest_problems(folder / "model") == []
    assert (folder / "keys.yaml").read_text() == (tmp_path / "keys.yaml").read_text()
    assert (folder / "adapters" / "law" / "adapter_config.json").read_text() == "{}"


def test_a_restore_overwrites_nothing(archive: Path, tmp_path: Path) -> None:
    done = run_avikam("restore", str(archive), "--to", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is not empty: choose another folder\n"


def test_a_flipped_byte_is_found(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    done = run_avikam("restore", str(archive), "--check")
    assert done.returncode == 2
    assert f"error: {archive} is damaged at model/" in done.stderr


def test_a_cut_archive_is_found(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert run_avikam("restore", str(archive), "--check").returncode == 2


def test_a_member_outside_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("../escaped")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    done = run_avikam("restore", str(archive), "--to", str(tmp_path / "new"))
    assert done.returncode == 2
    assert "which is no plain file inside" in done.stderr
    assert not (tmp_path / "escaped").exists()


def test_a_damaged_checkpoint_is_not_backed_up(tmp_path: Path) -> None:
    model = Path(shutil.copytree(embedded_model(), tmp_path / "model"))
    (model / "tokenizer.model").write_bytes(b"x")
    done = run_avikam("backup", str(tmp_path / "a.tar"), "--model", str(model))
    assert done.returncode == 2
    assert "tokenizer.model is corrupt" in done.stderr
    assert not (tmp_path / "a.tar").exists()


def test_mistakes_are_told_in_a_line(tmp_path: Path) -> None:
    assert "there is nothing to back up" in run_avikam("backup", str(tmp_path / "a.tar")).stderr
    (tmp_path / "b.tar").write_text("no archive")
    done = run_avikam("restore", str(tmp_path / "b.tar"), "--check")
    assert "is no backup" in done.stderr
    assert "name a folder with --to" in run_avikam("restore", str(tmp_path / "b.tar")).stderr
