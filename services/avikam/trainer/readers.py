"""Reading training text: JSONL and TSV, plain or gzip, malformed UTF-8 dropped and counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path, dropped: Counter[str] | None = None) -> Iterator[str]:
    """The lines that are UTF-8; others are skipped and counted."""
    with _open(path) as file:
        for raw in file:
            try:
                yield raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                if dropped is not None:
                    dropped["not UTF-8"] += 1


def read_jsonl(path: Path, dropped: Counter[str] | None = None) -> Iterator[dict[str, Any]]:
    """One object per line; ``dropped`` counts the lines that are not UTF-8."""
    for number, line in enumerate(_lines(path, dropped), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error}") from error


def read_tsv(path: Path, dropped: Counter[str] | None = None) -> Iterator[dict[str, str]]:
    """Tab-separated rows under a header; quotes are text, not syntax."""
    yield from csv.DictReader(_lines(path, dropped), delimiter="\t", quoting=csv.QUOTE_NONE)


def find(folder: Path, stem: str) -> Path | None:
    """``folder/stem`` with any of the known endings, or none."""
    for ending in (".jsonl.gz", ".jsonl", ".tsv.gz", ".tsv"):
        path = folder / f"{stem}{ending}"
        if path.exists():
            return path
    return None
