"""Rows on disk: one JSON per line, gzip, written whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from avikam.trainer.preparation.rows import Row


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write beside, then rename; equal lines give equal bytes. Returns how many they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    count = 0
    with beside.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        for line in lines:
            file.write(line.encode() + b"\n")
            count += 1
    beside.replace(path)
    return count


def read_shard(path: Path) -> Iterator[Row]:
    """The rows of a file written by :func:`write_lines`."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield Row.from_json(json.loads(line))
