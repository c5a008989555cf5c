"""One archive with what a reinstall does not bring back: weights, adapters, keys.

    backup.json          sha256 of every other member
    model/...            a checkpoint folder that was whole when it was written
    adapters/NAME/...    LoRA adapters
    keys.yaml            the key file: hashes, no keys

Weights do not compress, so the archive is a plain tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from avikam.model.manifest import manifest_problems

INDEX = "backup.json"
KEYS = "keys.yaml"
_CHUNK = 1 << 20


class BackupError(ValueError):
    """An archive or its source is not what it should be; the message is one line."""


def write_backup(
    archive: Path, model: Path | None, adapters: Path | None, keys: Path | None
) -> dict[str, str]:
    """Write an archive that only its owner may read; what it holds, with sums.

    Raises BackupError for a damaged checkpoint, OSError for files.
    """
    members = dict(_members(model, adapters, keys))
    if not members:
        raise BackupError("there is nothing to back up: name a model, adapters or keys")
    sums = {name: _sum_of_file(path) for name, path in members.items()}
    unfinished = archive.with_name(f"{archive.name}.unfinished")
    descriptor = os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        _add_index(tar, sums)
        for name, path in members.items():
            tar.add(path, name, recursive=False)
        file.flush()
        os.fsync(file.fileno())
    check_backup(unfinished)
    unfinished.replace(archive)
    return sums


def check_backup(archive: Path) -> dict[str, str]:
    """Read a whole archive; what it holds, with sums. Raises BackupError, OSError."""
    try:
        with tarfile.open(archive) as tar:
            sums = _index(tar)
            found = {member.name: _sum_of_member(tar, member) for member in _files(tar)}
    except tarfile.TarError as error:
        raise BackupError(f"{archive} is no backup: {error}") from None
    if found != sums:
        wrong = sorted(n for n in found.keys() | sums.keys() if found.get(n) != sums.get(n))
        raise BackupError(f"{archive} is damaged at {wrong[0]}")
    return sums


def restore_backup(archive: Path, folder: Path) -> dict[str, str]:
    """Check an archive and unpack it into a folder that is empty or not there yet.

    Raises BackupError, OSError.
    """
    sums = check_backup(archive)
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in _files(tar):
            tar.extract(member, folder, filter="data")
    return sums


def _members(
    model: Path | None, adapters: Path | None, keys: Path | None
) -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of every file."""
    if model is not None:
        problems = manifest_problems(model)
        if problems:
            raise BackupError(f"checkpoint {model}: {problems[0]}")
        yield from _tree("model", model)
    if adapters is not None:
        yield from _tree("adapters", adapters)
    if keys is not None:
        yield KEYS, keys


def _tree(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{name}/{path.relative_to(folder).as_posix()}", path.resolve()


def _add_index(tar: tarfile.TarFile, sums: Mapping[str, str]) -> None:
    content = json.dumps({"files": sums}, indent=1).encode()
    info = tarfile.TarInfo(INDEX)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _index(tar: tarfile.TarFile) -> dict[str, str]:
    first = tar.next()
    file = tar.extractfile(first) if first is not None and first.name == INDEX else None
    if file is None:
        raise BackupError(f"the archive does not begin with {INDEX}")
    try:
        return dict(json.loads(file.read())["files"])
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{INDEX} is unreadable") from None


def _files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members beside the index, which must be plain files inside."""
    for member in tar.getmembers():
        if member.name == INDEX:
            continue
        inside = PurePosixPath(member.name)
        if not member.isfile() or inside.is_absolute() or ".." in inside.parts:
            raise BackupError(f"the archive holds {member.name!r}, which is no plain file inside")
        yield member


def _sum_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    file = tar.extractfile(member)
    while file is not None and (chunk := file.read(_CHUNK)):
        digest.update(chunk)
    return digest.hexdigest()
