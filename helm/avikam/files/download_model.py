"""Fetch a checkpoint archive, refuse it unless its SHA-256 is the expected one, unpack it.

download_model.py URL SHA256 FOLDER
"""

import hashlib
import sys
import tarfile
import urllib.request
from pathlib import Path

MIB = 1024 * 1024


def fetch(url: str, target: Path) -> str:
    """Write what the address answers to a file; returns its SHA-256."""
    digest = hashlib.sha256()
    answer = urllib.request.urlopen(url, timeout=60)  # noqa: S310 - the schema allows https only
    with answer, target.open("wb") as file:
        while block := answer.read(MIB):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def main(url: str, sha256: str, folder: str) -> None:
    """Download, check, unpack; a restarted pod keeps what it already has."""
    target = Path(folder)
    done = target / ".sha256"
    if done.exists() and done.read_text() == sha256:
        return
    archive = target / "download.tar.gz"
    found = fetch(url, archive)
    if found != sha256:
        archive.unlink()
        sys.exit(f"the archive has SHA-256 {found}, expected {sha256}: set model.download.sha256")
    with tarfile.open(archive) as files:
        files.extractall(target, filter="data")
    archive.unlink()
    done.write_text(sha256)


if __name__ == "__main__":
    main(*sys.argv[1:])
