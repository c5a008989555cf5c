"""``avikam train finetune``: from a checkpoint and conversations to an adapter folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from avikam.model.checkpoint import load_checkpoint
from avikam.model.manifest import TOKENIZER, WEIGHTS
from avikam.model.quantize import float_state
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1
from avikam.trainer.finetuning.dataset import load_dataset
from avikam.trainer.finetuning.eight_bit import quantize_base
from avikam.trainer.finetuning.finetune import Finetuning
from avikam.trainer.finetuning.peft_files import write_adapter
from avikam.trainer.finetuning.recipe import FinetuneRecipe
from avikam.trainer.metrics import step_note
from avikam.trainer.parallel import pick_device, use_every_core
from avikam.trainer.progress import say, training_bar
from avikam.trainer.run_record import file_digest, folder_digest, record_run
from avikam.trainer.tracking import tracked_run


@dataclass(frozen=True, slots=True)
class FinetunePaths:
    """``base`` is a checkpoint folder; ``out`` becomes the run's folder and the adapter."""

    base: Path
    data: Path
    out: Path


def finetune(
    paths: FinetunePaths, recipe: FinetuneRecipe, device: str = "auto", track: str | None = None
) -> str:
    """Train, or go on training; returns a line with perplexity before and after."""
    use_every_core()
    checkpoint = load_checkpoint(paths.base)
    tokenizer = Tokenizer(checkpoint.tokenizer_file)
    model = trainable_base(paths.base, recipe, device)
    data = load_dataset(paths.data, tokenizer, recipe.length, recipe.valid)
    run = Finetuning(paths.out / "run", model, data, recipe)
    notes = record_run(paths.out / "run", recipe, run.done, _identity(paths))
    for line in [*notes, *data.notes, run.choice.why]:
        say(f"finetune {paths.out.name}: {line}")
    before = run.perplexity()
    with (
        tracked_run(track, "avikam-finetune", paths.out.name, paths.out) as tracker,
        training_bar(f"finetune {paths.out.name}", recipe.log_every) as bar,
    ):
        tracker.parameters(asdict(recipe))

        def report(figures: dict[str, float]) -> None:
            bar(run.share_done, f"phase {figures['phase']:.0f}  {step_note(figures)}")
            tracker.metrics(figures, step=run.done)

        run.run(report)
        write_adapter(paths.out, run.adapters, checkpoint.config.name)
        tracker.artifact(paths.out / "run" / "metrics.jsonl")
    return f"{paths.out}: validation perplexity {before:.3f} -> {run.best_perplexity:.3f}"


def _identity(paths: FinetunePaths) -> dict[str, str]:
    """What besides the recipe decides a run, in digests."""
    return {
        "tokenizer": file_digest(paths.base / TOKENIZER),
        "base": file_digest(paths.base / WEIGHTS),
        "data": folder_digest(paths.data),
    }


def trainable_base(folder: Path, recipe: FinetuneRecipe, device: str) -> Avikam1:
    """The checkpoint as a model that gradients can pass through, its own weights frozen."""
    checkpoint = load_checkpoint(folder)
    model = Avikam1(checkpoint.config)
    state = float_state(checkpoint.weights)
    if checkpoint.config.tie_embeddings:
        state["head.weight"] = state["embed.weight"]
    model.load_state_dict(state)
    if recipe.base_weights != "float32":
        quantize_base(model, recipe.base_weights)
    return model.to(pick_device(device)).requires_grad_(False)
