"""Reading training text: JSONL and TSV, plain or gzip, malformed UTF-8 dropped and counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path) -> Iterator[str]:
    """The lines that are UTF-8; others are skipped."""
    with _open(path) as file:
        for raw in file:
            try:
                yield raw.decode("utf-8").rstrip("\n")
            except UnicodeDecodeError:
                continue


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """One object per line."""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error}") from error


def read_tsv(path: Path) -> Iterator[dict[str, str]]:
    """Tab-separated rows under a header; quotes are text, not syntax."""
    yield from csv.DictReader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)


def find(folder: Path, stem: str) -> Path | None:
    """``folder/stem`` with any of the known endings, or none."""
    for ending in (".jsonl.gz", ".jsonl", ".tsv.gz", ".tsv"):
        path = folder / f"{stem}{ending}"
        if path.exists():
            return path
    return None
