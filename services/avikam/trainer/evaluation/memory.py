"""Memory of training: measured for this model, computed for the 7B one.

Measured means: every allocation of one training step is counted as it is made and freed, on top
of the weights and optimiser state that stay. Computed means: weights, gradients and optimiser by
their number, activations by this model's measured bytes per token, layer and hidden unit.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from avikam.model.config import ModelConfig, preset
from avikam.model.transformer import Avikam1, initialize
from avikam.trainer.examples import Example
from avikam.trainer.finetuning.adapters import Adapters
from avikam.trainer.finetuning.eight_bit import quantize_base
from avikam.trainer.likelihood import one_per_row
from avikam.trainer.loss import hidden_states, summed_loss

ROWS, LENGTH, RANK = 8, 128, 64


@dataclass(frozen=True, slots=True)
class Setup:
    """One row of the table; each adds to the one before."""

    name: str
    adapters: bool = False
    int8: bool = False
    recompute: bool = False


SETUPS = (
    Setup("baseline: all weights, AdamW"),
    Setup("+ LoRA", adapters=True),
    Setup("+ 8-bit base", adapters=True, int8=True),
    Setup("+ gradient checkpointing", adapters=True, int8=True, recompute=True),
)


def memory_table(config: ModelConfig) -> dict[str, Any]:
    """{"measured": {setup: bytes}, "computed-7b": {setup: bytes}} and the shape they hold for."""
    measured, computed = {}, {}
    large = preset("avikam1-7b")
    for setup in SETUPS:
        resident, peak = measure(config, setup)
        measured[setup.name] = resident + peak
        gradients = 4 * trained_weights(config, setup)
        activations = max(0, peak - gradients)
        share = large.num_layers * large.hidden_size / (config.num_layers * config.hidden_size)
        moving = 4 * trained_weights(large, setup)
        computed[setup.name] = int(resident_bytes(large, setup) + moving + activations * share)
    return {
        "shape": {"rows": ROWS, "tokens_per_row": LENGTH, "rank": RANK},
        "measured": measured,
        "computed-7b": computed,
    }


def resident_bytes(config: ModelConfig, setup: Setup) -> int:
    """Weights and AdamW's two moments, float32 where trained, as they lie between steps."""
    trained = trained_weights(config, setup)
    if not setup.adapters:
        return 12 * trained
    base = config.parameter_count()
    inside = _matrices_inside(config) if setup.int8 else 0
    return 4 * (base - inside) + inside + 12 * trained


def trained_weights(config: ModelConfig, setup: Setup) -> int:
    """Weights that have gradients."""
    if not setup.adapters:
        return config.parameter_count()
    kv_rows = config.num_kv_heads * config.head_dim
    return config.num_layers * RANK * (5 * config.hidden_size + kv_rows)


def _matrices_inside(config: ModelConfig) -> int:
    outside = config.vocab_size * config.hidden_size * (1 if config.tie_embeddings else 2)
    norms = (2 * config.num_layers + 1) * config.hidden_size
    return config.parameter_count() - outside - norms


def measure(config: ModelConfig, setup: Setup) -> tuple[int, int]:
    """(bytes that stay between steps, most bytes a step adds to them)."""
    model = Avikam1(config)
    initialize(model, 0)
    adapters = None
    trained: list[nn.Parameter] = list(model.parameters())
    if setup.adapters:
        model.requires_grad_(False)
        adapters = Adapters(config, RANK, 2.0 * RANK, 0.1, 0)
        trained = list(adapters.parameters())
    if setup.int8:
        quantize_base(model, "int8")
    optimizer = torch.optim.AdamW(trained)
    _step(model, adapters, optimizer, setup)  # the first step creates the moments
    modules = [model, *([adapters] if adapters else [])]
    resident = _bytes(t for m in modules for t in (*m.parameters(), *m.buffers()))
    resident += _bytes(t for s in optimizer.state.values() for t in s.values())
    gc.collect()
    with AllocationCounter() as counter:
        _step(model, adapters, optimizer, setup)
    return resident, counter.peak


def _step(
    model: Avikam1, adapters: Adapters | None, optimizer: torch.optim.Optimizer, setup: Setup
) -> None:
    tokens = [i % model.config.vocab_size for i in range(LENGTH + 1)]
    batch = one_per_row([Example(tokens, [True] * len(tokens))] * ROWS, torch.device("cpu"))
    layers = frozenset(range(model.config.num_layers)) if setup.recompute else frozenset()
    hidden = hidden_states(model, batch, layers, adapters.adapt if adapters else None)
    (summed_loss(model, hidden, batch.targets) / batch.counted).backward()
    del hidden
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class AllocationCounter(TorchDispatchMode):
    """Counts the bytes of every tensor that operations inside the block create."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {_pointer(t) for t in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage not in self._known and storage.data_ptr() not in before:
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.held -= size


def _pointer(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any) -> list[Tensor]:
    """Every tensor inside nested arguments."""
    return [t for t in torch.utils._pytree.tree_leaves(value) if isinstance(t, Tensor)]
