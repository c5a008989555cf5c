"""Two evaluations side by side, every figure a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from avikam.trainer.evaluation.report import table

_APART = frozenset({"memory", "speed"})
_COUNTS = frozenset({"items", "pairs", "tokens", "chance"})


def side_by_side(reports: dict[str, dict[str, Any]]) -> str:
    """A table with a column per evaluation of ``avikam eval``, by variant's name."""
    columns = {name: dict(figures(report["tasks"])) for name, report in reports.items()}
    rows = [
        (row, *(column.get(row, "") for column in columns.values()))
        for row in next(iter(columns.values()))
    ]
    return table(("figure", *columns), rows)


def figures(tasks: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """("translation, fr-en, legal, bleu", 7.2) for each figure; sizes and memory left out."""
    for task, result in tasks.items():
        if task not in _APART:
            yield from _leaves(task, result)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        if key not in _COUNTS:
            yield from _leaves(f"{path}, {key}", inner)
