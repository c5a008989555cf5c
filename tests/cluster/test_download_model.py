"""The init container's script: what it fetched becomes a model only with the expected SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.cluster.helm import CHART

SCRIPT = CHART / "files" / "download_model.py"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    config = tmp_path / "config.json"
    config.write_text("{}")
    path = tmp_path / "served" / "model.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as files:
        files.add(config, "config.json")
    return path


@pytest.fixture
def address(archive: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
        server.shutdown()


def download(address: str, sha256: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(SCRIPT), address, sha256, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_expected_archive_is_unpacked(address: str, archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert download(address, digest(archive), folder).returncode == 0
    assert (folder / "config.json").read_text() == "{}"
    assert not list(folder.glob("*.tar.gz"))


def test_another_archive_is_refused(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    done = download(address, "0" * 64, folder)
    assert done.returncode == 1
    assert "expected 000" in done.stderr
    assert not list(folder.iterdir())


def test_a_restarted_pod_keeps_its_model(address: str, archive: Path, tmp_path: Path) -> None:
    folder, expected = tmp_path / "model", digest(archive)
    download(address, expected, folder)
    archive.unlink()
    assert download(address, expected, folder).returncode == 0


def test_another_checkpoint_is_never_overwritten(
    address: str, archive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    download(address, digest(archive), folder)
    done = download(address, "1" * 64, folder)
    assert done.returncode == 1
    assert "holds another checkpoint: set model.pvc.path to a new folder" in done.stderr
    assert (folder / "config.json").read_text() == "{}"


def test_workers_wait_for_the_job_that_fills_their_claim(
    address: str, archive: Path, tmp_path: Path
) -> None:
    folder, expected = tmp_path / "claim" / "avikam1", digest(archive)
    command = [sys.executable, str(SCRIPT), address, expected, str(folder), "--wait"]
    with subprocess.Popen(command) as waiting:
        assert waiting.poll() is None
        assert not folder.exists()
        job = [sys.executable, str(SCRIPT), address, expected, str(folder)]
        assert subprocess.run(job, check=False).returncode == 0
        assert waiting.wait(timeout=30) == 0
    assert (folder / "config.json").exists()
