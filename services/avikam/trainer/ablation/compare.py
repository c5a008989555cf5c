"""Does the architecture earn its place? Equal size, equal data, short runs.

Every variant sees the same tokens in the same order; only the layers differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from avikam.model.config import ModelConfig
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1, initialize
from avikam.trainer.ablation.long_prose import long_prose
from avikam.trainer.ablation.page import Evaluated, Measured, report
from avikam.trainer.ablation.recipe import AblationRecipe
from avikam.trainer.ablation.variants import variant_config
from avikam.trainer.corpus import Corpus, load_corpus
from avikam.trainer.evaluation.beside import side_by_side
from avikam.trainer.evaluation.recipe import TASKS, EvalRecipe
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.evaluation.suite import Suite
from avikam.trainer.loss import hidden_states
from avikam.trainer.metrics import step_note
from avikam.trainer.mixture import Mixture, Source
from avikam.trainer.packing import Batch, pack
from avikam.trainer.parallel import World, joined_world
from avikam.trainer.pretrain import PretrainConfig, Pretraining
from avikam.trainer.pretrain_command import model_config
from avikam.trainer.progress import training_bar
from avikam.trainer.sources import pretraining_sources

_TASKS = tuple(name for name in TASKS if name != "memory")


def ablate(data: Path, tokenizer_file: Path, out: Path, recipe: AblationRecipe, page: Path) -> str:
    """Train and measure every variant, write ``page``; finished runs are not repeated."""
    tokenizer = Tokenizer(tokenizer_file)
    base = model_config(recipe.training, tokenizer)
    held_out = _held_out(load_corpus(data, "valid"), tokenizer, recipe)
    rows = []
    with joined_world("auto") as world:
        bench = _Bench(out, load_corpus(data), tokenizer, held_out, recipe.training, world)
        for name in recipe.variants:
            config = variant_config(base, name)
            runs = [_losses(bench, config, seed) for seed in recipe.seeds]
            rows.append(_measured(config, runs))
    text = report(rows, base, recipe, _evaluated(out, data, tokenizer_file, recipe))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return text


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all runs share."""

    out: Path
    train: Corpus
    tokenizer: Tokenizer
    held_out: Batch
    training: PretrainConfig
    world: World


def _losses(bench: _Bench, config: ModelConfig, seed: int) -> dict[str, float]:
    """Validation loss overall and by position of one run."""
    folder = bench.out / f"{config.name}-{seed}"
    kept = folder / "losses.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    settings = replace(bench.training, seed=seed)
    model = Avikam1(config)
    initialize(model, seed)
    mixture = Mixture(_sources(bench.train, bench.tokenizer, settings), seed)
    run = Pretraining(folder, model, mixture, settings, bench.world)
    with training_bar(f"{config.name} seed {seed}", settings.log_every) as bar:
        run.run(
            lambda m: {},
            lambda figures: bar(settings.share_done(run.progress), step_note(figures)),
        )
    losses = losses_by_position(model, bench.held_out)
    kept.write_text(json.dumps(losses), encoding="utf-8")
    return losses


def _evaluated(out: Path, data: Path, tokenizer: Path, recipe: AblationRecipe) -> Evaluated | None:
    """``avikam eval`` of the dense and the FG model, side by side."""
    names = tuple(name for name in ("dense", "fg") if name in recipe.variants)
    if not recipe.items or not names:
        return None
    chosen = EvalRecipe(tasks=_TASKS, limit=recipe.items, context=recipe.training.length)
    reports: dict[str, dict[str, Any]] = {}
    for name in names:
        folder = out / f"{name}-{recipe.seeds[0]}"
        subject = load_subject(folder / "state.pt", tokenizer)
        reports[name] = Suite(subject, data, chosen, folder / "evaluation").run()
    return Evaluated(side_by_side(reports), names)


def _sources(corpus: Corpus, tokenizer: Tokenizer, config: PretrainConfig) -> list[Source]:
    weights = dict(config.weights)
    weight = weights.pop("long-prose", 0.0)
    sources = pretraining_sources(corpus, tokenizer, weights, config.length)
    return [*sources, long_prose(corpus, tokenizer, config.length, weight)]


def _held_out(corpus: Corpus, tokenizer: Tokenizer, recipe: AblationRecipe) -> Batch:
    length = recipe.training.length
    source = long_prose(corpus, tokenizer, length, 1.0)
    if not source.size:
        raise ValueError(f"the corpus has no held-out running text of {length} tokens")
    return pack(iter(Mixture([source], 7)), recipe.valid_rows, length)


@torch.no_grad()
def losses_by_position(model: Avikam1, batch: Batch, rows: int = 4) -> dict[str, float]:
    """Mean loss of all targets and of those before and beyond the window (by position)."""
    window = model.config.window
    sums: dict[str, list[float]] = {"all": [0.0, 0.0], "inside": [0.0, 0.0], "beyond": [0.0, 0.0]}
    for piece in (b.to(model.rotary.device) for b in batch.split(rows)):
        counted = piece.targets != -100
        logits = model.logits(hidden_states(model, piece)[counted])
        losses = torch.nn.functional.cross_entropy(
            logits, piece.targets[counted], reduction="none"
        ).double()
        beyond = piece.positions[counted] >= window
        for name, chosen in (
            ("all", torch.ones_like(beyond)),
            ("inside", ~beyond),
            ("beyond", beyond),
        ):
            sums[name][0] += float(losses[chosen].sum())
            sums[name][1] += int(chosen.sum())
    return {name: total / count for name, (total, count) in sums.items() if count}


def _measured(config: ModelConfig, runs: list[dict[str, float]]) -> Measured:
    entries = sum(config.slot_length(layer) for layer in range(config.num_layers))
    overall = [run["all"] for run in runs]
    parts = [name for name in ("inside", "beyond") if name in runs[0]]
    return Measured(
        name=config.name,
        parameters=config.parameter_count(),
        cache_bytes=entries * 2 * config.num_kv_heads * config.head_dim * 2,
        loss=sum(overall) / len(overall),
        spread=max(overall) - min(overall),
        by_position={n: sum(run[n] for run in runs) / len(runs) for n in parts},
    )
