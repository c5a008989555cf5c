"""Avikam's own step: plan, model, logits, sampling."""

from __future__ import annotations

from collections import Counter

import torch

from avikam.engine.measure import StepBench
from avikam.engine.sampler import SamplingRow, sample
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.backends import Backend
from avikam.model.checkpoint import expected_shapes
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType, build_model
from avikam.model.native.model import NativeModel
from avikam.model.native.slots import NativeSlots
from avikam.model.steps import StepModel
from avikam.model.untrained import random_tensors
from avikam.protocol.sampling import SamplingParams
from benchmarks.figures import CONTEXT, STREAMS

_GREEDY = SamplingRow(SamplingParams(), 0, 0, frozenset(), Counter())
_NEVER = torch.tensor([1, 3, 4])


class Ours:
    """A model and the slots that it attends through."""

    def __init__(self, model: StepModel, slots: SlotState, name: str = "") -> None:
        self.model, self.slots = model, slots
        self.name = name or f"avikam {slots.name}"
        self.parameters = model.config.parameter_count()
        self._position = CONTEXT
        self._streams = 1

    @torch.inference_mode()
    def prefill(self) -> None:
        size = min(CONTEXT, self.slots.longest_chunk)
        for start in range(0, CONTEXT, size):
            self._run(StepPlan((), (), (Chunk(0, start, size),)), last_only=True)

    def begin(self, streams: int) -> None:
        # What the slots hold is of no account for a step's time; how much they hold is.
        self._streams, self._position = streams, CONTEXT

    @torch.inference_mode()
    def step(self) -> None:
        plan = StepPlan(tuple(range(self._streams)), (self._position,) * self._streams)
        self._run(plan, last_only=False)
        self._position += 1

    def close(self) -> None:
        """Nothing is held outside memory."""

    def context_step_ratio(self, seconds: float) -> float:
        """Time of a decode step at 2047 tokens over one at 320."""
        return StepBench(self.model, self.slots, seconds).context_step_ratio()

    def _run(self, plan: StepPlan, *, last_only: bool) -> None:
        self.slots.begin(plan)
        tokens = torch.arange(plan.tokens) % self.model.config.vocab_size
        hidden = self.model(tokens, plan.positions(), self.slots.attend)
        logits = self.model.logits(hidden[-1:] if last_only else hidden)
        sample(logits, [_GREEDY] * len(logits), _NEVER)


def random_ours(
    config: ModelConfig,
    *,
    native: bool = True,
    kind: WeightType = "int8",
    name: str = "",
    level: str = "",
) -> Ours:
    """Random weights, in the form that a worker would run; ``level`` is that of native steps."""
    backend = Backend(kind, native=native, level=level)
    slots = backend.slots(config, STREAMS)
    names = expected_shapes(config)
    weights = dict(zip(names, random_tensors(config, torch.float32, seed=1), strict=True))
    if isinstance(slots, NativeSlots) and not backend.native_problem(config):
        return Ours(NativeModel(config, weights, slots, 4 if kind == "int4" else 8), slots, name)
    return Ours(build_model(config, weights, kind), slots, name)
