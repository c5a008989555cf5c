"""Fetch a checkpoint archive, refuse it unless its SHA-256 is the expected one, unpack it.

download_model.py URL SHA256 FOLDER          download, unless it is there already
download_model.py URL SHA256 FOLDER --wait   wait until somebody else has
"""

import hashlib
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

MIB = 1024 * 1024
LOOK_SECONDS = 2


def fetch(url: str, target: Path) -> str:
    """Write what the address answers to a file; returns its SHA-256."""
    digest = hashlib.sha256()
    answer = urllib.request.urlopen(url, timeout=60)  # noqa: S310 - the schema allows https only
    with answer, target.open("wb") as file:
        while block := answer.read(MIB):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def is_there(target: Path, sha256: str) -> bool:
    """Whether the archive with this sum was unpacked here."""
    done = target / ".sha256"
    return done.exists() and done.read_text() == sha256


def download(url: str, sha256: str, target: Path) -> None:
    """Download, check, unpack; never over another checkpoint, which workers may be reading."""
    if (target / ".sha256").exists():
        sys.exit(f"{target} holds another checkpoint: set model.pvc.path to a new folder")
    target.mkdir(parents=True, exist_ok=True)
    archive = target / "download.tar.gz"
    found = fetch(url, archive)
    if found != sha256:
        archive.unlink()
        sys.exit(f"the archive has SHA-256 {found}, expected {sha256}: set model.download.sha256")
    with tarfile.open(archive) as files:
        files.extractall(target, filter="data")
    archive.unlink()
    (target / ".sha256").write_text(sha256)


def main(url: str, sha256: str, folder: str, wait: str = "") -> None:
    """A restarted pod keeps what it already has."""
    target = Path(folder)
    while wait and not is_there(target, sha256):
        time.sleep(LOOK_SECONDS)
    if not is_there(target, sha256):
        download(url, sha256, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
