"""What the device must know of each row of a step, in memory whose addresses never change.

             row 0 .. D-1: decoding         D .. R-1: ends of prompts      R .. : filling a bucket
    token    UNREAD, or what the host knows -                              0
    slot     its slot                       its slot                       nobody's
    position of the token it feeds          -                              0
    draws    how its next token is drawn    the same                       -

An unread token stands in the pool: the device chose it in the step before and keeps it by slot.
The host writes two pinned copies in turn, so that one can be on its way while the other fills. A
copy's fence has long been reached when its turn comes again; it is there for steps that failed.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from avikam.engine.device.accelerator import Accelerator, Fence
from avikam.engine.draw import Draw, DrawRows, filters
from avikam.engine.sequence import UNREAD

_HARMLESS = Draw(key=0, top_k=1, temperature=1.0, top_p=1.0, min_p=0.0)
_TOKEN, _SLOT, _POSITION, _KEY, _TOP_K = range(5)
_TEMPERATURE, _TOP_P, _MIN_P, _NOISY = range(4)


class StepRows:
    """Room for ``rows`` rows; ``nobody`` is the slot of those that only fill up."""

    def __init__(self, accelerator: Accelerator, rows: int, device: str, nobody: int) -> None:
        self._accelerator = accelerator
        self._nobody = nobody
        self._hosts = [
            (
                accelerator.pinned(5, rows, torch.int64),
                accelerator.pinned(4, rows, torch.float32),
            )
            for _ in range(2)
        ]
        self._fences: list[Fence | None] = [None, None]
        self._words = torch.zeros(5, rows, dtype=torch.int64, device=device)
        self._floats = torch.zeros(4, rows, dtype=torch.float32, device=device)

    def slots(self, rows: int) -> Tensor:
        """The slot of each of the first ``rows`` rows: (rows,)."""
        return self._words[_SLOT, :rows]

    def positions(self, rows: int) -> Tensor:
        """The position that each of them computes: (rows,)."""
        return self._words[_POSITION, :rows]

    def tokens(self, rows: int, pool: Tensor) -> Tensor:
        """What the first ``rows`` rows feed, from the host or from ``pool`` [slots + 1]."""
        known = self._words[_TOKEN, :rows]
        return torch.where(known == UNREAD, pool[self.slots(rows)], known)

    def noisy(self, rows: int) -> Tensor:
        """Which rows draw at random."""
        return self._floats[_NOISY, :rows] > 0

    def draws(self, sent: Seq[Draw | None], vocab_size: int) -> DrawRows:
        """The draws that :meth:`send` was given, on the device."""
        words, floats = self._words[:, : len(sent)], self._floats[:, : len(sent)]
        return DrawRows(
            words[_KEY], words[_TOP_K], floats[_TEMPERATURE], floats[_TOP_P], floats[_MIN_P],
            any(draw is not None and filters(draw, vocab_size) for draw in sent),
        )  # fmt: skip

    def send(
        self, feeds: Seq[tuple[int, int, int]], ends: Seq[int], draws: Seq[Draw | None], rows: int
    ) -> None:
        """Queue the rows of a step: ``feeds`` (token, slot, position), slots of prompts' ``ends``,
        how each of both draws (none: greedily), filled up to ``rows``."""
        self._hosts.reverse()
        self._fences.reverse()
        if self._fences[0] is not None:
            self._fences[0].synchronize()
        words, floats = (host.numpy() for host in self._hosts[0])
        decoding, drawing = len(feeds), len(draws)
        words[_TOKEN : _POSITION + 1, :rows] = [[0], [self._nobody], [0]]
        if decoding:
            words[_TOKEN : _POSITION + 1, :decoding] = np.array(feeds).T
        words[_SLOT, decoding:drawing] = ends
        numbers = [draw or _HARMLESS for draw in draws]
        words[_KEY, :drawing] = [draw.key for draw in numbers]
        words[_TOP_K, :drawing] = [draw.top_k for draw in numbers]
        floats[_TEMPERATURE, :drawing] = [draw.temperature for draw in numbers]
        floats[_TOP_P, :drawing] = [draw.top_p for draw in numbers]
        floats[_MIN_P, :drawing] = [draw.min_p for draw in numbers]
        floats[_NOISY, :drawing] = [draw is not None for draw in draws]
        for host, device in zip(self._hosts[0], (self._words, self._floats), strict=True):
            self._accelerator.copy(host, device)
        self._fences[0] = self._accelerator.fence()
