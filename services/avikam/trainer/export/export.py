"""From a training state to a checkpoint folder that a worker serves."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from avikam.model.checkpoint import CARD, write_checkpoint
from avikam.model.config import ModelConfig
from avikam.model.lora_files import read_adapter
from avikam.model.manifest import MANIFEST, write_manifest
from avikam.model.quantize import quantize_state
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1
from avikam.trainer.corpus import load_corpus
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.examples import Example, chat
from avikam.trainer.export.calibration import calibrate
from avikam.trainer.export.card import FACTS, facts_text, model_card, read_sources
from avikam.trainer.export.merge import merged
from avikam.trainer.export.showcase import showcase, showcase_conversations
from avikam.trainer.metrics import METRICS
from avikam.trainer.parallel import use_every_core
from avikam.trainer.recipe import recipe
from avikam.trainer.run_record import RECIPE, RECORD
from avikam.trainer.state import read_average, read_progress, read_weights
from avikam.trainer.tracking import tracked_run


@recipe
class ExportRecipe:
    """``calibration_tokens`` is how much held-out text the int8 cost is measured on.

    ``name`` is the model's; the folder's name when it is empty.
    """

    name: str = ""
    weights: Literal["int8", "bfloat16", "float32"] = "int8"
    calibration_tokens: int = 20_000
    temperature: float = 0.0
    max_tokens: int = 256
    # A penalty keeps a weak model from saying the same line for ever, and changes translations.
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class ExportPaths:
    """``state`` is a run's ``state.pt``; ``adapter`` is merged into it when given."""

    state: Path
    tokenizer: Path
    data: Path
    out: Path
    adapter: Path | None = None
    sources: Path | None = None


@dataclass(frozen=True, slots=True)
class _Trained:
    config: ModelConfig
    weights: dict[str, Tensor]
    training: dict[str, Any]


def export_checkpoint(paths: ExportPaths, recipe: ExportRecipe, track: str | None = None) -> str:
    """Write ``out``; returns one line that says what it cost. ``track`` records it in MLflow."""
    use_every_core()
    trained = _read(paths, recipe.name or paths.out.name)
    check_tensors(trained.config, trained.weights)
    out, tokenizer = paths.out, Tokenizer(paths.tokenizer)
    facts: dict[str, Any] = {
        "weights": recipe.weights,
        "training": trained.training,
        "adapter": paths.adapter.name if paths.adapter else None,
        "sources": read_sources(paths.sources),
        "answers": [],
    }
    if recipe.weights == "int8":
        examples = held_out_examples(tokenizer, paths.data, recipe.calibration_tokens)
        facts["calibration"] = calibrate(trained.config, trained.weights, examples)
    tensors = stored_tensors(trained.weights, recipe.weights)
    generation = {
        "temperature": recipe.temperature,
        "max_tokens": recipe.max_tokens,
        "frequency_penalty": recipe.frequency_penalty,
    }
    write_checkpoint(out, trained.config, tensors, paths.tokenizer.read_bytes(), generation)
    subject = load_subject(out)
    facts["answers"], facts["conversations"] = showcase(subject), showcase_conversations(subject)
    keep_run_files(paths.state.parent, out)
    (out / FACTS).write_text(facts_text(facts), "utf-8")
    (out / CARD).write_text(model_card(trained.config, facts), encoding="utf-8")
    write_manifest(out)
    _track(track, out, recipe, facts)
    cost = facts.get("calibration", {}).get("cost_percent")
    return f"{out}: {recipe.weights}" + (f", perplexity {cost:+.2f} %" if cost is not None else "")


def _track(track: str | None, out: Path, recipe: ExportRecipe, facts: dict[str, Any]) -> None:
    figures = facts.get("calibration", {}) | facts["training"]
    with tracked_run(track, "avikam-export", out.name) as run:
        run.parameters(asdict(recipe) | {"adapter": facts["adapter"]})
        run.metrics({n: v for n, v in figures.items() if isinstance(v, int | float)}, step=0)
        for name in (CARD, FACTS, MANIFEST):
            run.artifact(out / name)


def check_tensors(config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """ValueError that names the first tensor that is missing, unknown, misshapen or not finite."""
    with torch.device("meta"):
        expected = {name: w.shape for name, w in Avikam1(config).state_dict().items()}
    if config.tie_embeddings:
        expected.pop("head.weight", None)
    for name in sorted(expected.keys() ^ weights.keys()):
        raise ValueError(
            f"tensor {name} is {'missing' if name in expected else 'none of the model'}"
        )
    for name, weight in weights.items():
        if weight.shape != expected[name]:
            raise ValueError(f"{name} has shape {list(weight.shape)}, needs {list(expected[name])}")
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} holds values that are not finite; export an earlier state")


def keep_run_files(run: Path, out: Path) -> None:
    """The recipe, the record and the metrics of the run beside the model, where there are any."""
    for name in (RECIPE, RECORD):
        if (run / name).is_file():
            shutil.copyfile(run / name, out / f"training-{name}")
    if (run / METRICS).is_file():
        packed = gzip.compress((run / METRICS).read_bytes(), mtime=0)
        (out / f"training-{METRICS}.gz").write_bytes(packed)


def stored_tensors(weights: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """A checkpoint's tensors in the number format ``kind``; norms stay float32 in int8."""
    if kind == "int8":
        return quantize_state(weights)
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    return {name: weight.to(dtype) for name, weight in weights.items()}


def held_out_examples(tokenizer: Tokenizer, data: Path, tokens: int) -> list[Example]:
    """Validation pairs as translation requests, both directions, up to ``tokens`` counted.

    Of a corpus without pairs, its validation conversations.
    """
    corpus = load_corpus(data, "valid")
    examples: list[Example] = []
    for pairs in zip(*_padded(list(corpus.pairs.values())), strict=True):
        for pair in filter(None, pairs):
            for form, source, target in (
                ("Traduis en anglais : ", pair.french, pair.english),
                ("Translate into French: ", pair.english, pair.french),
            ):
                turns = [("user", form + source), ("assistant", target)]
                examples.append(chat(tokenizer, turns))
                tokens -= sum(examples[-1].counts)
        if tokens <= 0:
            return examples
    for turns in (turns for chats in corpus.chats.values() for turns in chats):
        if not corpus.pairs and tokens > 0:
            examples.append(chat(tokenizer, turns))
            tokens -= sum(examples[-1].counts)
    if not examples:
        raise ValueError(f"{data} has no validation pairs or conversations to measure int8 on")
    return examples


def _padded(lists: list[list[Any]]) -> list[list[Any]]:
    longest = max(map(len, lists), default=0)
    return [rows + [None] * (longest - len(rows)) for rows in lists]


def _read(paths: ExportPaths, name: str) -> _Trained:
    config, weights = read_weights(paths.state)
    if config.tie_embeddings:
        weights.pop("head.weight", None)
    if paths.adapter:
        weights = merged(weights, read_adapter(paths.adapter, config), config)
    progress = read_progress(paths.state)
    training: dict[str, Any] = {**progress.summary(), "earlier": progress.earlier}
    if averaged := read_average(paths.state):
        training["averaged"] = averaged
    return _Trained(config.with_changes(name=name), weights, training)
