"""``avikam train pretrain``: everything a run needs, put together from paths and a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import ModelConfig, preset
from avikam.model.manifest import WEIGHTS
from avikam.model.quantize import float_state
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1, initialize
from avikam.trainer.corpus import load_corpus
from avikam.trainer.export.card import runs_behind
from avikam.trainer.metrics import step_note
from avikam.trainer.mixture import Mixture, Source
from avikam.trainer.packing import Batch
from avikam.trainer.parallel import World, joined_world
from avikam.trainer.pretrain import (
    PretrainConfig,
    Pretraining,
    validation_batches,
    validation_losses,
)
from avikam.trainer.progress import say, training_bar
from avikam.trainer.run_record import file_digest, folder_digest, record_run
from avikam.trainer.sources import pretraining_sources
from avikam.trainer.tracking import tracked_run


@dataclass(frozen=True, slots=True)
class PretrainPaths:
    """Where a run reads and writes; ``start`` is the checkpoint whose weights it begins with."""

    data: Path
    tokenizer: Path
    out: Path
    start: Path | None = None


def pretrain(
    paths: PretrainPaths, config: PretrainConfig, device: str = "auto", track: str | None = None
) -> str:
    """Train, or go on training, in ``paths.out``; rank 0 returns the state file, others nothing."""
    tokenizer = Tokenizer(paths.tokenizer)
    with joined_world(device) as world:
        return _run(paths, config, tokenizer, world, track)


def _run(
    paths: PretrainPaths,
    config: PretrainConfig,
    tokenizer: Tokenizer,
    world: World,
    track: str | None,
) -> str:
    model = Avikam1(model_config(config, tokenizer))
    initialize(model, config.seed)
    earlier = begin_with(model, paths.start) if paths.start else []
    corpus = load_corpus(paths.data)
    sources = pretraining_sources(corpus, tokenizer, config.weights, config.length)
    run = Pretraining(paths.out, model, Mixture(sources, config.seed), config, world, earlier)
    if world.leads:
        notes = record_run(paths.out, config, run.progress.step, _identity(paths))
        for line in [*notes, *run.choices, *undrawn(sources)]:
            say(f"pretrain {paths.out.name}: {line}")
    held_out = held_out_batches(paths.data, tokenizer, config)
    name, records = paths.out.name, track if world.leads else None
    with (
        tracked_run(records, "avikam-pretrain", name, paths.out) as tracker,
        training_bar(f"pretrain {name}", config.log_every, shown=world.leads) as bar,
    ):
        tracker.parameters(asdict(config))

        def report(figures: dict[str, float]) -> None:
            bar(config.share_done(run.progress), step_note(figures))
            tracker.metrics(figures, step=run.progress.step)

        run.run(lambda m: validation_losses(m, held_out), report)
        if world.leads:
            tracker.artifact(paths.out / "metrics.jsonl")
    return str(run.state_file) if world.leads else ""


def undrawn(sources: list[Source]) -> list[str]:
    """One line that names what the corpus holds and the recipe gives no share."""
    left = [f"{source.name} ({source.size:,})" for source in sources if not source.weight]
    left = [line for line in left if not line.endswith("(0)")]
    return [f"no share in the recipe, not trained on: {', '.join(left)}"] if left else []


def _identity(paths: PretrainPaths) -> dict[str, str | None]:
    """What besides the recipe decides a run, in digests."""
    return {
        "tokenizer": file_digest(paths.tokenizer),
        "data": folder_digest(paths.data),
        "start": file_digest(paths.start / WEIGHTS) if paths.start else None,
    }


def begin_with(model: Avikam1, start: Path) -> list[dict[str, int]]:
    """Put a checkpoint's weights into ``model``; returns the runs that made them.

    int8 weights begin as the floats they stand for. ValueError when the shapes differ.
    """
    checkpoint = load_checkpoint(start)
    if model_shape(checkpoint.config) != model_shape(model.config):
        raise ValueError(
            f"{start} is another model than the recipe's; give the recipe its model and changes"
        )
    weights = float_state(checkpoint.weights)
    model.load_state_dict(weights, strict=not model.config.tie_embeddings)
    return runs_behind(start)


def model_shape(config: ModelConfig) -> ModelConfig:
    """A config without what does not change a weight."""
    return config.with_changes(name="")


def model_config(config: PretrainConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The model of a recipe, with the tokenizer's vocabulary."""
    changes = {"vocab_size": tokenizer.vocab_size, **config.model_changes}
    if "layer_types" in changes:
        changes["layer_types"] = tuple(changes["layer_types"])
    return preset(config.model).with_changes(**changes)


def held_out_batches(
    data: Path, tokenizer: Tokenizer, config: PretrainConfig
) -> dict[str, list[Batch]]:
    """A validation batch for every source that has held-out text."""
    weights = dict.fromkeys(config.weights, 1.0)
    sources = pretraining_sources(load_corpus(data, "valid"), tokenizer, weights, config.length)
    mixtures = {
        source.name: Mixture([source], 1) for source in sources if source.size and source.weight
    }
    return validation_batches(mixtures, min(16, config.rows), config.length)
