"""The sha256 manifest of a checkpoint folder; checked without torch, before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.model"
MANIFEST = "manifest.json"
TOKENIZER_JSON, TOKENIZER_WORDS = "tokenizer.json", "tokenizer_config.json"


def required_files(folder: Path) -> tuple[str, ...]:
    """What a folder must hold: its tokenizer is of one of two kinds."""
    other = (TOKENIZER_JSON, TOKENIZER_WORDS)
    tokenizer = other if (folder / TOKENIZER_JSON).is_file() else (TOKENIZER,)
    return (CONFIG, WEIGHTS, *tokenizer, MANIFEST)


def write_manifest(folder: Path) -> None:
    """Record the sha256 of every file of the folder."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    manifest = {"files": {path.name: sha256(path) for path in files}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def manifest_problems(folder: Path) -> list[str]:
    """Files that are missing or differ from the manifest; empty when all are as written."""
    if not folder.is_dir():
        return ["the folder does not exist"]
    missing = [name for name in required_files(folder) if not (folder / name).is_file()]
    if missing:
        return [f"{name} is missing" for name in missing]
    try:
        listed = dict(json.loads((folder / MANIFEST).read_text("utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} is unreadable: {error}"]
    return _differences(folder, listed)


def _differences(folder: Path, listed: dict[str, str]) -> list[str]:
    needed = required_files(folder)[:-1]
    problems = [f"{name} is not in {MANIFEST}" for name in needed if name not in listed]
    for name, digest in sorted(listed.items()):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            problems.append(f"{name} is listed in {MANIFEST} but missing")
        elif sha256(path) != digest:
            problems.append(f"{name} is corrupt: its sha256 differs from {MANIFEST}")
    return problems


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
