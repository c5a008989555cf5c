"""Finds the request that kills the workers it runs on, and keeps it from more of them.

    a worker dies under a sequence
      for the first time, after some tokens      resumes at once, as all do
      otherwise                                  suspect: runs on in the lane, one at a time
      while it is in the lane                    guilty: 500, and its like for ten minutes

Innocents that were on the same worker leave the lane with a few more tokens than they had; nobody
else waits for it. A poison that kills in its prompt takes two workers with it, one that kills later
three. A suspect that finds too many before it in the lane runs on without it: then a death was not
about one request. Nor is it when workers die together, of a node or of one cause: a suspect waits a
moment after the death, or it would be sent to the next one that is dying anyway.

Fingerprints are keyed hashes of what the worker computes from, so that no prompt is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from avikam.v1 import worker_pb2

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class QuarantineRules:
    """``seconds`` and ``most`` bound the memory; ``margin`` is how many tokens beyond those it had
    clear a suspect, for some were made that never arrived; ``lane`` is how many may wait for it,
    ``moment`` the seconds after a death in which others of the same cause show."""

    seconds: float = 600.0
    most: int = 4096
    margin: int = 4
    lane: int = 8
    moment: float = 0.25


class Case:
    """What one sequence has been through. ``in_lane`` is whether it runs as the only suspect."""

    __slots__ = ("deaths", "died_at", "in_lane", "tokens")

    def __init__(self) -> None:
        self.deaths = 0
        self.died_at = 0.0
        self.tokens = 0
        self.in_lane = False

    @property
    def suspect(self) -> bool:
        """Whether it is to run in the lane."""
        return self.deaths > 1 or (self.deaths == 1 and not self.tokens)


class Quarantine:
    """One per gateway."""

    def __init__(self, clock: Clock, rules: QuarantineRules | None = None) -> None:
        self._clock = clock
        self._rules = rules or QuarantineRules()
        self._key = secrets.token_bytes(32)
        self._guilty: OrderedDict[bytes, float] = OrderedDict()
        self._lane = asyncio.Lock()
        self._waiting = 0

    def holds(self, request: worker_pb2.SequenceRequest) -> bool:
        """Whether its like is known to kill workers."""
        if not self._guilty:
            return False
        return self._guilty.get(self._fingerprint(request), 0.0) > self._clock()

    def note_death(self, case: Case, tokens: int, request: worker_pb2.SequenceRequest) -> bool:
        """A worker died while it ran the sequence; whether that settles it: it was the only one."""
        case.deaths += 1
        case.died_at = self._clock()
        case.tokens = tokens
        if not case.in_lane:
            return False
        self.leave(case)
        self._guilty[self._fingerprint(request)] = self._clock() + self._rules.seconds
        while len(self._guilty) > self._rules.most:
            self._guilty.popitem(last=False)
        return True

    async def enter(self, case: Case) -> None:
        """Wait for the lane, if the sequence is to run in it; it must :meth:`leave`."""
        if not case.suspect or case.in_lane or self._waiting >= self._rules.lane:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(case.died_at + self._rules.moment - self._clock())
            await self._lane.acquire()
        finally:
            self._waiting -= 1
        case.in_lane = True

    def progress(self, case: Case, tokens: int) -> None:
        """A suspect that has come further than where its worker died is none any more."""
        if case.in_lane and tokens >= case.tokens + self._rules.margin:
            self.leave(case)

    def leave(self, case: Case) -> None:
        """Let the next suspect into the lane."""
        if case.in_lane:
            case.in_lane = False
            self._lane.release()

    def _fingerprint(self, request: worker_pb2.SequenceRequest) -> bytes:
        """Of prompt, adapter and sampling; the seed is the gateway's when the client gave none."""
        known = worker_pb2.SequenceRequest(
            prompt=request.prompt,
            sampling=request.sampling,
            adapter=request.adapter,
            language=request.language,
        )
        known.sampling.ClearField("seed")
        data = known.SerializeToString(deterministic=True)
        return hashlib.blake2b(data, key=self._key, digest_size=16).digest()
