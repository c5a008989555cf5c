"""The figures of an ablation as a page, and in words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from avikam.model.config import ModelConfig
from avikam.trainer.ablation.recipe import AblationRecipe
from avikam.trainer.evaluation.report import table


@dataclass(frozen=True, slots=True)
class Measured:
    """What one variant's runs gave; losses are means over the seeds, ``spread`` their range."""

    name: str
    parameters: int
    cache_bytes: int
    loss: float
    spread: float
    by_position: dict[str, float]


def report(rows: list[Measured], base: ModelConfig, recipe: AblationRecipe) -> str:
    """The page: what was run, the table, and what it says in words."""
    training = recipe.training
    intro = (
        f"{training.steps} steps of {training.rows} x {training.length} tokens, "
        f"{len(recipe.seeds)} seeds, window {base.window}, stride {base.stride}, "
        f"{base.num_layers} layers of {base.hidden_size}. The loss is that of held-out running "
        "text in nats per token; *inside* and *beyond* are positions below and from the window on. "
        "Written by `avikam train ablate`."
    )
    header = (
        "variant", "weights", "cache at full context (KiB, 16 bit)", "loss", "range over seeds",
        "inside", "beyond", "perplexity",
    )  # fmt: skip
    cells = [
        (
            row.name,
            f"{row.parameters:,}",
            f"{row.cache_bytes / 1024:,.0f}",
            f"{row.loss:.4f}",
            f"{row.spread:.4f}",
            f"{row.by_position.get('inside', math.nan):.4f}",
            f"{row.by_position.get('beyond', math.nan):.4f}",
            f"{math.exp(row.loss):.2f}",
        )
        for row in rows
    ]
    words = "\n".join(f"- {line}" for line in conclusions(rows))
    settings = json.dumps(asdict(recipe), indent=2)
    return (
        f"# Ablation\n\n{intro}\n\n{table(header, cells)}\n\n## What it says\n\n{words}\n\n"
        f"## Recipe\n\n```json\n{settings}\n```\n"
    )


def conclusions(rows: list[Measured]) -> list[str]:
    """Each comparison in words; differences within the range over seeds are called none."""
    by_name = {row.name: row for row in rows}
    noise = max(row.spread for row in rows)
    pairs = (("fg", "dense"), ("mixed", "dense"), ("mixed", "fg"), ("swiglu", "fg"))
    lines = []
    for name, other in pairs:
        difference = by_name[name].loss - by_name[other].loss
        share = 100 * (math.exp(difference) - 1)
        if abs(difference) <= noise:
            verdict = f"no difference beyond the range over seeds ({noise:.4f})"
        else:
            verdict = "worse" if difference > 0 else "better"
        cache = by_name[name].cache_bytes / by_name[other].cache_bytes
        lines.append(
            f"{name} against {other}: {difference:+.4f} nats ({share:+.2f} % perplexity), "
            f"{verdict}; cache {cache:.2f} times."
        )
    return lines
