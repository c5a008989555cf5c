"""Decode steps recorded once per batch size, and replayed.

A step of B rows runs in the smallest bucket that holds it; rows that fill the bucket up work on
nobody's slot. The buckets are powers of two, so a batch at most doubles.
"""

from __future__ import annotations

import logging
from bisect import bisect_left

import torch
from torch import Tensor

from avikam.engine.device.accelerator import Accelerator, Replay
from avikam.engine.device.rows import StepRows
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.steps import StepModel

log = logging.getLogger(__name__)


def buckets(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to ``most``, which is one too."""
    powers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return (*powers, most)


class DecodeGraphs:
    """Graphs from tokens to logits. Their inputs are ``rows`` and ``pool``, their output one
    tensor [slots, vocab]."""

    def __init__(
        self,
        model: StepModel,
        cache: DeviceSlots,
        rows: StepRows,
        pool: Tensor,
        accelerator: Accelerator,
    ) -> None:
        self._model = model
        self._cache = cache
        self._rows = rows
        self._pool = pool
        self._accelerator = accelerator
        self._logits = torch.zeros(cache.slots, model.config.vocab_size, device=cache.device)
        self._sizes: tuple[int, ...] = ()
        self._replays: dict[int, Replay] = {}

    @torch.inference_mode()
    def capture(self) -> None:
        """Record every bucket, the largest first, so that the others fit into its memory.

        Without graphs a step is launched call by call: slower, and the log says why.
        """
        sizes = buckets(self._cache.slots)
        try:
            for size in reversed(sizes):
                self._replays[size] = self._record(size)
        except Exception as error:  # what a model does that no graph can hold has no one type
            self._replays.clear()
            log.warning("decode steps run without graphs: %s", error)
            return
        self._sizes = sizes

    def bucket(self, rows: int) -> int | None:
        """The size in which ``rows`` decode rows run; none where they need to be launched."""
        at = bisect_left(self._sizes, rows)
        return self._sizes[at] if rows and at < len(self._sizes) else None

    def replay(self, bucket: int) -> Tensor:
        """Logits [bucket, vocab] of the rows that were sent; the next replay overwrites them."""
        self._replays[bucket]()
        return self._logits[:bucket]

    def _record(self, size: int) -> Replay:
        self._rows.send([(0, self._cache.nobody, 0)] * size, (), (), size)

        def step() -> None:
            positions = self._rows.positions(size)
            self._cache.begin_decode(self._rows.slots(size), positions)
            tokens = self._rows.tokens(size, self._pool)
            hidden = self._model(tokens, positions, self._cache.attend)
            self._logits[:size].copy_(self._model.logits(hidden))

        return self._accelerator.capture(step)
