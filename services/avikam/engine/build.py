"""From a checkpoint folder to a running engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from avikam.engine.adapters import AdapterStore, Apply
from avikam.engine.context import context_length
from avikam.engine.device.accelerator import CudaAccelerator
from avikam.engine.device.runner import DeviceRunner
from avikam.engine.engine import TorchEngine
from avikam.engine.interface import EngineModel
from avikam.engine.kv.prefix_cache import KvOptions, PrefixCache
from avikam.engine.numerics import numerics
from avikam.engine.parallel.rank import RankSetup
from avikam.engine.parallel.team import RankTeam
from avikam.engine.runner import ModelRunner
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import SlotStore
from avikam.model.backends import Backend
from avikam.model.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType, resolve_weight_type
from avikam.model.lora import Adapter, AppliedAdapter
from avikam.model.manifest import WEIGHTS
from avikam.model.parallel.shard import check_ranks
from avikam.model.steps import StepModel
from avikam.model.tokenizer import TokenizerError
from avikam.model.vocabulary.load import load_tokenizer
from avikam.model.vocabulary.protocol import ModelTokenizer
from avikam.protocol.errors import ApiError
from avikam.protocol.sampling import SamplingParams
from avikam.protocol.validation import check_sampling

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an operator may choose about an engine."""

    model: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    weights: WeightType = "auto"
    slots: int = 32
    max_model_len: int = 0  # 0: the model's own, or as long as the slots fit into memory
    token_budget: int = 512
    queue_requests: int = 1024
    queue_tokens: int = 1_000_000
    threads: int = 0  # 0: by the model's size
    ranks: int = 1  # processes that share the model, each with a GPU of its own where there are
    native: bool = True  # int8 steps on a CPU through the native library, where it can be built
    native_level: str = ""  # kind of processor that the library is built for; empty: the best
    ahead: bool = True  # on a GPU: decode by graphs, and launch a step before reading the last
    adapters: Path | None = None  # folder that adapters may be loaded from
    load_adapters: tuple[str, ...] = ()  # of these at the start: FOLDER or NAME=FOLDER
    adapter_bytes: int = 256 * 2**20
    kv: KvOptions | None = field(default_factory=KvOptions)  # None: prefixes are not reused


def build_engine(options: EngineOptions) -> TorchEngine:
    """Load, check and warm up; raises :class:`CheckpointError` for a folder it cannot serve."""
    checkpoint = load_checkpoint(options.model)
    torch.set_num_threads(options.threads or useful_threads(checkpoint.config))
    tokenizer = _tokenizer(checkpoint)
    # Worked out once, and now: a large vocabulary takes longer than a heartbeat may.
    log.info("tokenizer: %d entries", len(tokenizer.token_bytes))
    device = resolve_device(options.device)
    kind = resolve_weight_type(options.weights, checkpoint, device)
    backend = Backend(kind, device, options.native, options.native_level)
    length = context_length(checkpoint.config, options.max_model_len, options.slots, backend)
    checkpoint = replace(checkpoint, config=checkpoint.config.with_changes(max_positions=length))
    never = torch.tensor(sorted(tokenizer.control_ids - tokenizer.eos_ids))
    runner, apply = _runner(options, checkpoint, kind, device, never)
    adapters = AdapterStore(checkpoint.config, options.adapters, options.adapter_bytes, apply)
    _load_at_start(adapters, options.load_adapters)
    runner.warm_up()
    cache = runner.store
    log.info(
        "model ready: %s, %s weights on %s x %d, attention %s, %d slots of %.1f MiB",
        checkpoint.config.name, kind, device, options.ranks, cache.name,
        cache.slots, cache.bytes_per_slot() / 2**20,
    )  # fmt: skip
    return TorchEngine(
        _describe(checkpoint, kind, cache, tokenizer, options.ranks),
        tokenizer,
        runner,
        adapters,
        _prefix_cache(options, cache, checkpoint, kind),
        token_budget=options.token_budget,
        queue_requests=options.queue_requests,
        queue_tokens=options.queue_tokens,
    )


def _load_at_start(adapters: AdapterStore, wanted: tuple[str, ...]) -> None:
    """So that a worker that replaces another, or joins it, has what that was told to load."""
    for text in wanted:
        name, _, folder = text.partition("=")
        try:
            adapters.load(name, folder or name)
        except ApiError as error:
            raise CheckpointError(f"load_adapters: {text!r}: {error.message}") from error


def useful_threads(config: ModelConfig) -> int:
    """CPU threads that a model's steps can use: one per 50 M parameters, at most the cores.

    The steps of a small model are so short that waking a second thread costs more than it gives.
    """
    return max(1, min(torch.get_num_threads(), config.parameter_count() // 50_000_000))


def resolve_device(asked: Literal["auto", "cpu", "cuda"]) -> str:
    """``auto`` takes a GPU when there is one; asking for one that is missing is an error."""
    present = torch.cuda.is_available()
    if asked == "cuda" and not present:
        raise CheckpointError("device is cuda, but PyTorch sees no GPU here; use cpu or auto")
    return "cuda" if asked == "cuda" or (asked == "auto" and present) else "cpu"


def slot_cache(
    config: ModelConfig, slots: int, kind: WeightType, device: str = "cpu", *, native: bool = True
) -> SlotState:
    """The attention backend of a weight type: int8 is exact, floats agree with the reference."""
    return Backend(kind, device, native).slots(config, slots)


def step_model(
    checkpoint: Checkpoint, kind: WeightType, device: str, cache: SlotState
) -> StepModel:
    """The model in the form that fits the slots."""
    return Backend(kind, device).model(checkpoint, cache)


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


def _tokenizer(checkpoint: Checkpoint) -> ModelTokenizer:
    try:
        return load_tokenizer(checkpoint.folder, checkpoint.config.vocab_size)
    except TokenizerError as error:
        raise CheckpointError(f"checkpoint {checkpoint.folder}: {error}") from error


def _runner(
    options: EngineOptions, checkpoint: Checkpoint, kind: WeightType, device: str, never: Tensor
) -> tuple[ModelRunner, Apply]:
    """What runs the model, in this process or over several ranks, and what fits adapters to it."""
    if options.ranks > 1:
        team = RankTeam(_first_rank(options, checkpoint, kind, device), checkpoint)
        return ModelRunner(team.rank.model, team.rank.cache, never, team), team.apply
    backend = Backend(kind, device, options.native, options.native_level)
    cache = backend.slots(checkpoint.config, options.slots)

    def apply(adapter: Adapter, _folder: Path) -> AppliedAdapter:
        return backend.adapter(adapter, model)

    model = backend.model(checkpoint, cache)
    if options.ahead and device == "cuda" and isinstance(cache, DeviceSlots):
        return DeviceRunner(model, cache, never, CudaAccelerator()), apply
    return ModelRunner(model, cache, never), apply


def _first_rank(
    options: EngineOptions, checkpoint: Checkpoint, kind: WeightType, device: str
) -> RankSetup:
    check_ranks(checkpoint.config, options.ranks)
    if device == "cuda" and torch.cuda.device_count() < options.ranks:
        raise CheckpointError(
            f"ranks is {options.ranks}, but PyTorch sees {torch.cuda.device_count()} GPUs here"
        )
    return RankSetup(
        rank=0,
        ranks=options.ranks,
        model=str(options.model),
        kind=kind,
        device=device,
        slots=options.slots,
        threads=max(1, torch.get_num_threads() // options.ranks),
    )


def _prefix_cache(
    options: EngineOptions, cache: SlotStore, checkpoint: Checkpoint, kind: WeightType
) -> PrefixCache | None:
    """Prefix reuse under this checkpoint's identity; its digest covers weights and tokenizer."""
    if options.kv is None:
        return None
    return PrefixCache(cache, (checkpoint.digest, kind), options.kv)


def _describe(
    checkpoint: Checkpoint,
    kind: WeightType,
    cache: SlotStore,
    tokenizer: ModelTokenizer,
    ranks: int,
) -> EngineModel:
    config, origin = checkpoint.config, checkpoint.origin
    return EngineModel(
        id=config.name,
        max_model_len=config.max_positions,
        vocab_size=config.vocab_size,
        parameters=config.parameter_count(),
        weights=kind,
        digest=checkpoint.digest,
        attention_backend=cache.name,
        device=cache.device,
        created=int((checkpoint.folder / WEIGHTS).stat().st_mtime),
        default_sampling=default_sampling(checkpoint.generation),
        numerics=numerics(checkpoint.digest, kind, cache.name, cache.device, ranks),
        source=f"{origin['kind']}: {origin['location']}" if origin else "",
        revision=origin.get("revision", ""),
        licence=origin.get("licence", ""),
        quantisation=origin.get("quantisation", ""),
        end_ids=tuple(sorted(tokenizer.eos_ids)),
    )
