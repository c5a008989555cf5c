"""From a checkpoint folder to a running engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from avikam.engine.adapters import AdapterStore
from avikam.engine.engine import TorchEngine
from avikam.engine.interface import EngineModel
from avikam.engine.runner import ModelRunner
from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.slots import SlotCache
from avikam.model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType, load_model, resolve_weight_type
from avikam.model.manifest import WEIGHTS
from avikam.model.tokenizer import Tokenizer
from avikam.protocol.errors import ApiError
from avikam.protocol.sampling import SamplingParams
from avikam.protocol.validation import check_sampling

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator may choose about an engine."""

    model: Path
    weights: WeightType = "auto"
    slots: int = 32
    token_budget: int = 512
    queue_requests: int = 1024
    queue_tokens: int = 1_000_000
    threads: int = 0  # 0: torch decides
    adapters: Path | None = None  # folder that adapters may be loaded from
    adapter_bytes: int = 256 * 2**20


def build_engine(options: EngineOptions) -> TorchEngine:
    """Load, check and warm up; raises :class:`CheckpointError` for a folder it cannot serve."""
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(options.model)
    tokenizer = _tokenizer(checkpoint)
    kind = resolve_weight_type(options.weights, checkpoint)
    model = load_model(checkpoint, kind)
    cache = slot_cache(checkpoint.config, options.slots, kind)
    runner = ModelRunner(model, cache)
    adapters = AdapterStore(
        checkpoint.config, options.adapters, options.adapter_bytes, exact=kind == "int8"
    )
    _warm_up(runner)
    log.info(
        "model ready: %s, %s weights, attention %s, %d slots of %.1f MiB",
        checkpoint.config.name, kind, cache.name, cache.slots, cache.bytes_per_slot() / 2**20,
    )  # fmt: skip
    return TorchEngine(
        _describe(checkpoint, kind, cache),
        tokenizer,
        runner,
        adapters,
        token_budget=options.token_budget,
        queue_requests=options.queue_requests,
        queue_tokens=options.queue_tokens,
    )


def slot_cache(config: ModelConfig, slots: int, kind: WeightType) -> SlotCache:
    """The attention backend of a weight type: int8 is exact, floats agree with the reference."""
    if kind == "int8":
        return Int8Slots(config, slots)
    return FloatSlots(config, slots, torch.bfloat16 if kind == "bfloat16" else torch.float32)


def default_sampling(generation: dict[str, Any]) -> SamplingParams:
    """The sampling that a checkpoint's ``generation_config.json`` asks for."""
    known = {field.name for field in fields(SamplingParams)}
    unknown = sorted(set(generation) - known)
    if unknown:
        raise CheckpointError(f"generation_config.json: unknown key {unknown[0]!r}")
    try:
        return check_sampling(SamplingParams(**generation))
    except (ApiError, TypeError) as error:
        raise CheckpointError(f"generation_config.json: {error}") from error


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    tokenizer = Tokenizer(checkpoint.tokenizer_file)
    if tokenizer.vocab_size != checkpoint.config.vocab_size:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder}: the tokenizer has {tokenizer.vocab_size} pieces, "
            f"the config says {checkpoint.config.vocab_size}"
        )
    return tokenizer


def _warm_up(runner: ModelRunner) -> None:
    """One empty-handed step, so that the first request does not pay for lazy initialisation."""
    with torch.inference_mode():
        plan = StepPlan((0,), (0,))
        runner.cache.begin(plan)
        hidden = runner.model(
            torch.zeros(1, dtype=torch.long), plan.positions(), runner.cache.attend
        )
        runner.model.logits(hidden)


def _describe(checkpoint: Checkpoint, kind: WeightType, cache: SlotCache) -> EngineModel:
    config = checkpoint.config
    return EngineModel(
        id=config.name,
        max_model_len=config.max_positions,
        vocab_size=config.vocab_size,
        parameters=config.parameter_count(),
        weights=kind,
        digest=checkpoint.digest,
        attention_backend=cache.name,
        device="cpu",
        created=int((checkpoint.folder / WEIGHTS).stat().st_mtime),
        default_sampling=default_sampling(checkpoint.generation),
    )
