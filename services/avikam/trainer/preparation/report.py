"""What the corpus holds: counts as JSON and Markdown, and plots."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from avikam.trainer.evaluation.tables import table
from avikam.trainer.preparation.layout import Sided
from avikam.trainer.preparation.recipe import CorpusRecipe

SIDES = ("train", "valid", "test")


def write_report(
    folder: Path,
    rows: Sided,
    dropped: Counter[str],
    evaluation_files: list[str],
    recipe: CorpusRecipe,
) -> Path:
    """``report.json``, ``report.md``, ``rows.png`` and ``lengths.png``; returns the Markdown."""
    counts = count_rows(rows)
    values = {
        "rows": len(rows),
        "counts": counts,
        "dropped": dict(dropped.most_common()),
        "evaluation_files": evaluation_files,
        "recipe": asdict(recipe),
    }
    (folder / "report.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    _plot_rows(counts, folder / "rows.png")
    _plot_lengths(rows, folder / "lengths.png")
    document = folder / "report.md"
    document.write_text(_markdown(values), encoding="utf-8")
    return document


def count_rows(rows: Sided) -> list[dict[str, Any]]:
    """Rows and characters of each kind, language and domain, by side."""
    sums: dict[tuple[str, str, str], Counter[str]] = {}
    for side, row in rows:
        count = sums.setdefault((row.kind, row.language, row.domain), Counter())
        count[side] += 1
        count["characters"] += sum(map(len, row.parts))
    return [
        {"kind": kind, "language": language, "domain": domain, **count}
        for (kind, language, domain), count in sorted(sums.items())
    ]


def _markdown(values: dict[str, Any]) -> str:
    header = ("kind", "language", "domain", *SIDES, "train share", "characters")
    rows = []
    for count in values["counts"]:
        sides = [count.get(side, 0) for side in SIDES]
        share = f"{100 * sides[0] / sum(sides):.1f} %"
        labels = (count["kind"], count["language"], count["domain"])
        rows.append((*labels, *sides, share, count["characters"]))
    parts = [
        "# Corpus",
        f"{values['rows']:,} rows.",
        table(header, rows),
        "## Dropped",
        table(("reason", "rows"), values["dropped"].items()),
        "## Held out against",
        ", ".join(values["evaluation_files"]) or "no evaluation files were given",
        "![rows](rows.png)\n\n![lengths](lengths.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _plot_rows(counts: list[dict[str, Any]], target: Path) -> None:
    labels = [f"{c['kind']} {c['language']} {c['domain']}" for c in counts]
    figure = Figure(figsize=(9, 1.5 + 0.28 * len(labels)), layout="constrained")
    axes = figure.add_subplot(xlabel="rows", xscale="log")
    left = [0] * len(labels)
    for side in SIDES:
        values = [count.get(side, 0) for count in counts]
        axes.barh(labels, values, left=left, label=side)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.legend()
    figure.savefig(target, dpi=110)


def _plot_lengths(rows: Sided, target: Path) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="characters of a part", ylabel="parts", yscale="log")
    for kind in ("pair", "text", "chat"):
        lengths = [len(part) for _, row in rows if row.kind == kind for part in row.parts]
        if lengths:
            axes.hist(lengths, bins=60, histtype="step", label=kind)
    axes.legend()
    figure.savefig(target, dpi=110)
