"""What makes the steps of an int8 model on this CPU: the native library, or PyTorch without it.

The worker's engine and the trainer's evaluation ask here, so that both round alike.
"""

from __future__ import annotations

import logging
from typing import Protocol

from torch import Tensor

from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.slots import SlotState
from avikam.model.checkpoint import Checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import load_model
from avikam.model.native.model import NativeModel
from avikam.model.native.selftest import native_problem
from avikam.model.native.shape import unsupported, unsupported_slots
from avikam.model.native.slots import NativeSlots
from avikam.model.transformer import Adapt, Attend

_log = logging.getLogger(__name__)


class StepModel(Protocol):
    """What a step needs of a model: Avikam1 through PyTorch, or natively."""

    config: ModelConfig

    def __call__(
        self, tokens: Tensor, positions: Tensor, attend: Attend, adapt: Adapt | None = None, /
    ) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


def int8_slots(config: ModelConfig, slots: int, *, native: bool = True) -> SlotState:
    """Slots with exact attention; the log warns when they cannot be native."""
    problem = (unsupported_slots(config) or native_problem()) if native else ""
    if problem:
        _log.warning("int8 steps run through PyTorch, several times slower: %s", problem)
    return NativeSlots(config, slots) if native and not problem else Int8Slots(config, slots)


def int8_model(checkpoint: Checkpoint, slots: SlotState) -> StepModel:
    """The model in the form that fits :func:`int8_slots`."""
    if isinstance(slots, NativeSlots):
        problem = unsupported(checkpoint.config)
        if not problem:
            return NativeModel(checkpoint.config, checkpoint.weights, slots)
        _log.info("products run through PyTorch, attention natively: %s", problem)
    return load_model(checkpoint, "int8")
