"""How fast the engine's step is on this machine: prefill, decode by streams, cost of context."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from avikam.engine.roofline import Roofline, bytes_per_step
from avikam.engine.runner import compute
from avikam.engine.sampler import SamplingRow, sample
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.loading import WeightType
from avikam.model.steps import StepModel
from avikam.protocol.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """Medians of one run. Rates are tokens per second, over all streams.

    ``active_parameters`` are those that one token meets: fewer than all in a mixture of experts.
    ``shares``: of the measured bandwidth (decode, by streams) and matmul rate (prefill), if asked.
    ``context_step_ratio``: time of a decode step at the longest context over one at 320 tokens.
    ``first_token_512_ms``: of a prompt of 512 tokens alone; none where the context is shorter.
    """

    parameters: int
    active_parameters: int
    threads: int
    attention: str
    prefill_256: float
    decode: dict[str, float]
    context_step_ratio: float
    first_token_512_ms: float | None = None
    shares: dict[str, float] | None = None

    def as_json(self) -> dict[str, object]:
        """The figures by name."""
        return asdict(self)


Decode = Callable[[StepPlan, list[int]], Tensor]
"""The logits of a step of decode rows, from their tokens."""


class StepBench:
    """Times whole steps: plan, model, logits, sampling.

    ``decode`` is how decode steps run where that is not call by call.
    """

    def __init__(
        self,
        model: StepModel,
        cache: SlotState,
        seconds: float = 2.0,
        decode: Decode | None = None,
    ) -> None:
        self._model = model
        self._cache = cache
        self._seconds = seconds
        self._decode = decode
        self._never = torch.tensor([], dtype=torch.long)

    def run(self, streams: tuple[int, ...]) -> EngineFigures:
        """Measure everything; ``streams`` beyond the slots are left out."""
        return EngineFigures(
            parameters=self._model.config.parameter_count(),
            active_parameters=self._model.config.parameter_count(active=True),
            threads=torch.get_num_threads(),
            attention=self._cache.name,
            prefill_256=256 / self.prefill_seconds(256),
            decode={
                str(n): n / self.decode_seconds(n, 64) for n in streams if n <= self._cache.slots
            },
            context_step_ratio=self.context_step_ratio(),
            first_token_512_ms=self._first_token_ms(512),
        )

    def against(
        self, figures: EngineFigures, roofline: Roofline, kind: WeightType
    ) -> EngineFigures:
        """The same figures with their shares of what the device can do."""
        read = bytes_per_step(self._model.config, kind)
        shares = {
            f"decode_{n}": rate / int(n) * read / roofline.bytes_per_second
            for n, rate in figures.decode.items()
        }
        operations = 2 * figures.active_parameters * figures.prefill_256
        shares["prefill_256"] = operations / roofline.operations_per_second
        return replace(figures, shares=shares)

    def _first_token_ms(self, length: int) -> float | None:
        fits = length < self._model.config.max_positions
        return self.prefill_seconds(length) * 1e3 if fits else None

    def prefill_seconds(self, length: int) -> float:
        """Seconds of one prompt of ``length`` tokens, in chunks as the scheduler would cut it."""
        size = min(length, self._cache.longest_chunk)

        def prefill() -> None:
            for start in range(0, length, size):
                plan = StepPlan((), (), (Chunk(0, start, min(size, length - start)),))
                self._step(plan, last_only=True)

        return self._medians(prefill)[0]

    def decode_seconds(self, streams: int, position: int) -> float:
        """Seconds of one step of ``streams`` sequences at ``position``."""
        return self._medians(self._decoding(streams, position))[0]

    def context_step_ratio(self) -> float:
        """Time of a decode step at the longest context over one at 320 tokens."""
        longest = self._model.config.max_positions - 1
        short, long = self._medians(self._decoding(1, 320), self._decoding(1, longest))
        return long / short

    def _decoding(self, streams: int, position: int) -> Callable[[], None]:
        plan = StepPlan(tuple(range(streams)), (position,) * streams)
        return lambda: self._step(plan, last_only=False)

    @torch.inference_mode()
    def _step(self, plan: StepPlan, *, last_only: bool) -> None:
        tokens = [i % self._model.config.vocab_size for i in range(plan.tokens)]
        if self._decode is not None and not plan.chunks:
            logits = self._decode(plan, tokens).cpu()
        else:
            hidden = compute(self._model, self._cache, plan, torch.tensor(tokens), [])
            logits = self._model.logits(hidden[-1:] if last_only else hidden).cpu()
        row = SamplingRow(SamplingParams(), 0, 0, frozenset(), Counter())
        sample(logits, [row] * len(logits), self._never)

    def _medians(self, *works: Callable[[], None]) -> list[float]:
        """Median seconds of each over about ``seconds`` for all, after a warm-up.

        They take turns: the speed of a virtual machine drifts by more than they differ.
        """
        for work in works * 3:
            work()
        times: list[list[float]] = [[] for _ in works]
        started = time.perf_counter()
        while len(times[0]) < 5 or time.perf_counter() - started < self._seconds:
            for work, taken in zip(works, times, strict=True):
                before = time.perf_counter()
                work()
                taken.append(time.perf_counter() - before)
        return [statistics.median(taken) for taken in times]
