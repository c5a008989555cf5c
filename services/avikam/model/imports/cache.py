"""Imports that ``avikam serve --model SOURCE`` makes by itself, kept for the next time.

$AVIKAM_CACHE, else $XDG_CACHE_HOME/avikam, else ~/.cache/avikam
    models/NAME-DIGEST/     the digest covers the source's content and how it is stored
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

from avikam.model.imports.plan import ImportPlan
from avikam.model.imports.write import Progress, write_import
from avikam.model.manifest import manifest_problems
from avikam.model.weights_file import StoredType

_FORMAT = 1  # of what is written; another number leaves older imports alone


def cache_folder() -> Path:
    """Where imports are kept."""
    own = os.environ.get("AVIKAM_CACHE")
    if own:
        return Path(own) / "models"
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "avikam" / "models"


def cached_import(plan: ImportPlan, weights: StoredType, progress: Progress | None = None) -> Path:
    """The folder of an import, written now where it is not there already."""
    name = re.sub(r"[^\w.-]", "-", plan.config.name)
    folder = cache_folder() / f"{name}-{_digest(plan, weights)}"
    if folder.is_dir() and not manifest_problems(folder):
        return folder
    if folder.is_dir():
        # Damaged: kept beside for whoever wants to know, and made anew.
        folder.rename(folder.with_name(f"{folder.name}.damaged-{os.getpid()}"))
    write_import(plan, folder, weights, progress)
    return folder


def _digest(plan: ImportPlan, weights: StoredType) -> str:
    """What an import depends on. Files on this disk are known by place, size and time of change."""
    origin = plan.source.origin
    content = hashlib.sha256(plan.source.tokenizer.data)
    said = [_FORMAT, weights, asdict(origin), asdict(plan.config), asdict(plan.words)]
    content.update(json.dumps([*said, _stamp(origin.location)], sort_keys=True).encode())
    return content.hexdigest()[:16]


def _stamp(location: str) -> list[tuple[str, int, int]]:
    path = Path(location)
    if not path.exists():
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path.resolve()]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
