"""Whether the native step can be trusted on this machine: tried once per process."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.config import ModelConfig
from avikam.model.loading import from_int8_weights
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.model import NativeModel
from avikam.model.native.slots import NativeSlots
from avikam.model.transformer import Avikam1, initialize

_TOKENS = 24
_MOST_ERROR = 0.05  # relative; measured 0.004 to 0.012: other roundings on the way to int8
_SHAPE = ModelConfig(
    name="self-test", vocab_size=96, hidden_size=64, num_layers=2, num_heads=4, num_kv_heads=4,
    intermediate_size=160, window=8, stride=4, max_positions=32,
)  # fmt: skip


@functools.cache
def native_problem() -> str:
    """Why steps cannot run natively here; empty when they agree with PyTorch, in every cut."""
    try:
        weights = _weights()
        whole, single, oracle = _native(weights, _TOKENS), _native(weights, 1), _oracle(weights)
    except NativeUnavailableError as error:
        return str(error)
    if not torch.equal(whole, single):
        return "self-test: a prompt and its single tokens give different bits"
    if not (whole - oracle).norm() <= _MOST_ERROR * oracle.norm():
        return "self-test: logits differ from PyTorch's"
    return ""


def _weights() -> dict[str, Tensor]:
    model = Avikam1(_SHAPE)
    initialize(model, seed=1)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return {name: w * 4 if w.dim() == 2 else w for name, w in weights.items()}


def _native(weights: dict[str, Tensor], size: int) -> Tensor:
    slots = NativeSlots(_SHAPE, 1)
    return _logits(NativeModel(_SHAPE, weights, slots), slots, size)


def _oracle(weights: dict[str, Tensor]) -> Tensor:
    return _logits(from_int8_weights(_SHAPE, weights), Int8Slots(_SHAPE, 1), 8)


@torch.inference_mode()
def _logits(model: NativeModel | Avikam1, slots: SlotState, size: int) -> Tensor:
    """Logits of a fixed text, fed in pieces of ``size``."""
    tokens = torch.arange(_TOKENS) * 7 % _SHAPE.vocab_size
    rows = []
    for start in range(0, _TOKENS, size):
        plan = StepPlan((), (), (Chunk(0, start, size),))
        slots.begin(plan)
        hidden = model(tokens[start : start + size], plan.positions(), slots.attend)
        rows.append(model.logits(hidden))
    return torch.cat(rows)
