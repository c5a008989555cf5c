"""What a run's folder says about the run: recipe, tokenizer, data, versions; and what changed.

    recipe.yaml   the settings the run goes by, ready to be given to the command again
    run.json      digests and versions, one entry per start whose identity differs from the last

A run that goes on with another recipe or other data still goes on, and says so; another tokenizer
gives the ids another meaning, which is refused.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

RECIPE, RECORD = "recipe.yaml", "run.json"
_PACKAGES = ("avikam", "torch", "numpy", "sentencepiece")


class RunChangedError(ValueError):
    """A run's folder belongs to a run with another tokenizer."""


def record_run(folder: Path, recipe: Any, step: int, identity: Mapping[str, Any]) -> list[str]:
    """Write both files; returns one line for each thing that differs from the last start.

    ``recipe`` is the command's recipe object, ``identity`` what else decides the run (digests).
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = {"recipe": _plain(asdict(recipe)), **identity, "versions": _versions()}
    record = folder / RECORD
    starts: list[dict[str, Any]] = []
    if record.exists():
        starts = json.loads(record.read_text(encoding="utf-8"))
    before = {k: v for k, v in starts[-1].items() if k != "step"} if starts else now
    changes = list(_differences(before, _plain(now)))
    if step and any(change.startswith("tokenizer:") for change in changes):
        raise RunChangedError(
            f"{folder} was trained with another tokenizer; give the same one or start a new folder"
        )
    if not starts or changes:
        starts.append({"step": step, **now})
        _write(record, json.dumps(starts, indent=2, ensure_ascii=False) + "\n")
    _write(folder / RECIPE, yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False))
    return [f"changed since step {starts[-1]['step']}: {line}" for line in changes if step]


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of every file below ``folder``."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder)}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree
            found[name] = "not installed"
    return found


def _plain(value: Any) -> Any:
    """Lists instead of tuples, as a file gives them back."""
    return json.loads(json.dumps(value))


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def _write(path: Path, text: str) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
