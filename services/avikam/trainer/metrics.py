"""The figures of a run, one JSON line per step."""

from __future__ import annotations

import json
from pathlib import Path

METRICS = "metrics.jsonl"


class MetricsFile:
    """Appends to ``metrics.jsonl``; lines after the checkpoint a run resumes from are dropped.

    A run killed at step 120 with its checkpoint at 100 trains 101 to 120 again, and the file tells
    each step once.
    """

    def __init__(self, path: Path, resumed_at: int) -> None:
        self._path = path
        if path.exists():
            kept = [row for row in read_metrics(path) if row["step"] <= resumed_at]
            beside = path.with_suffix(".partial")
            beside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            beside.replace(path)

    def append(self, figures: dict[str, float]) -> None:
        """Add one step."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Every whole line; a line that a kill cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def step_note(figures: dict[str, float]) -> str:
    """The figures of a step as the bar and the log show them."""
    step = f"step {figures['step']:.0f}"
    if "skipped" in figures:
        return f"{step}  not finite, skipped"
    rate = figures.get("rate_matrices", figures["rate"])
    speed = f"{figures['tokens_per_second']:,.0f} tokens/s"
    return f"{step}  loss {figures['loss']:.3f}  {speed}  rate {rate:.2g}"
