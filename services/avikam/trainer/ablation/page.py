"""The figures of an ablation as a page, and in words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from avikam.model.config import ModelConfig
from avikam.trainer.ablation.recipe import AblationRecipe
from avikam.trainer.ablation.variants import ABOUT
from avikam.trainer.evaluation.tables import table


@dataclass(frozen=True, slots=True)
class Measured:
    """What one variant's runs gave; losses are means over the seeds, ``spread`` their range."""

    name: str
    parameters: int
    cache_bytes: int
    loss: float
    spread: float
    by_position: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The variants' passes through ``avikam eval`` (tables), and how they were made."""

    tables: str
    names: tuple[str, ...]


def report(
    rows: list[Measured],
    base: ModelConfig,
    recipe: AblationRecipe,
    evaluated: Evaluated | None = None,
) -> str:
    """The page: what was run, the table, what it says in words, the evaluation, the recipe."""
    words = "\n".join(f"- {line}" for line in conclusions(rows))
    parts = [
        f"# Ablation\n\n{_introduction(rows, base, recipe)}\n\n{_losses(rows)}",
        f"## What it says\n\n{words}",
        *([_evaluation(evaluated, recipe)] if evaluated else []),
        f"## Recipe\n\n```json\n{json.dumps(asdict(recipe), indent=2)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(rows: list[Measured], base: ModelConfig, recipe: AblationRecipe) -> str:
    training = recipe.training
    tokens = training.steps * training.rows * training.length
    kinds = "\n".join(f"- **{row.name}**: {ABOUT[row.name]}" for row in rows)
    return (
        f"Models of {base.num_layers} layers of {base.hidden_size}, each trained for "
        f"{training.steps} steps of {training.rows} x {training.length} tokens ({tokens:,} tokens, "
        f"the same in the same order), {len(recipe.seeds)} seeds. Written by "
        f"`avikam train ablate`.\n\n{kinds}\n\n"
        f"FG is FG({base.window}, {base.stride}). The loss is that of held-out running text in "
        "nats per token; *inside* and *beyond* are positions below and from the window on."
    )


def _losses(rows: list[Measured]) -> str:
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
    return table(header, cells)


def _evaluation(evaluated: Evaluated, recipe: AblationRecipe) -> str:
    return (
        f"## The whole evaluation, {' beside '.join(evaluated.names)}\n\n"
        f"`avikam eval` of these models, seed {recipe.seeds[0]}, at most {recipe.items} items of "
        f"each set, {recipe.training.length} tokens of context. After so short a training these "
        f"are figures to compare, not to boast of.\n\n{evaluated.tables}"
    )


def conclusions(rows: list[Measured]) -> list[str]:
    """Each comparison in words; differences within the range over seeds are called none."""
    by_name = {row.name: row for row in rows}
    noise = max(row.spread for row in rows)
    pairs = (("fg", "dense"), ("mixed", "dense"), ("mixed", "fg"), ("swiglu", "fg"))
    lines = []
    for name, other in pairs:
        if name not in by_name or other not in by_name:
            continue
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
