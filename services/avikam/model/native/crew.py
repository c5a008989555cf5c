"""The threads of a step, and how many of them the next step takes."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from avikam.model.native.library import Effort, Library

_ENOUGH_GAIN = 0.65  # of the threads: what they must be worth together, else fewer are better
_WINDOW_NS = 10_000_000  # that a judgement rests on: a core taken for one time slice is no reason
_SHORTEST_BREAK, _LONGEST_BREAK = 32, 2048  # steps with fewer threads before the next try


class Pace:
    """Says how many threads a step takes, from what the last ones were worth.

    While a team has its cores to itself, its members' processor time is nearly ``threads`` times
    the time on the clock. A neighbour that takes a core makes the others wait, and a step with two
    threads may then be slower than with one. So a team whose gain stays low steps with half of its
    threads for some time, then tries again; each failed try doubles the time.
    """

    def __init__(self) -> None:
        self._most = 0
        self._break = _SHORTEST_BREAK
        self._wall = self._processor = 0
        self._start(1)

    def threads(self, most: int) -> int:
        """For the next step, of at most ``most``."""
        if most != self._most:
            self._most, self._break = most, _SHORTEST_BREAK
            self._start(most)
        return self._now

    def note(self, members: int, wall_ns: int, processor_ns: int) -> None:
        """What a step with ``members`` threads took."""
        if members != self._now:
            return
        self._left -= 1
        self._wall += wall_ns
        self._processor += processor_ns
        if self._now < self._most and self._left <= 0:
            self._start(self._most)
        elif self._now > 1 and self._wall >= _WINDOW_NS:
            self._judge()

    def _judge(self) -> None:
        if self._processor >= _ENOUGH_GAIN * self._now * self._wall:
            if self._now == self._most:
                self._break = _SHORTEST_BREAK
            self._wall = self._processor = 0
            return
        if self._now == self._most:
            self._left = self._break
            self._break = min(2 * self._break, _LONGEST_BREAK)
        self._start(self._now // 2, self._left)

    def _start(self, threads: int, left: int = 0) -> None:
        self._now, self._left = threads, left
        self._wall = self._processor = 0


class Crew:
    """One team of the library. It may be called from one thread at a time."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._pace = Pace()
        self._team: int | None = None
        self._size = 0
        self._close: weakref.finalize[[int], Crew] | None = None

    @property
    def most(self) -> int:
        """Threads that a step may have: what PyTorch was told for this process."""
        return torch.get_num_threads()

    def run(self, function: Callable[..., Effort], *arguments: object) -> None:
        """Call one of the library's steps with as many threads as are of use now."""
        effort = function(self._opened(), *arguments, self._pace.threads(self.most))
        self._pace.note(effort.members, effort.wall_ns, effort.processor_ns)

    def _opened(self) -> int:
        if self._team is None or self._size != self.most:
            if self._close is not None:
                self._close()
            team = self._library.open_team(self.most)
            if not team:
                raise MemoryError(f"no memory for a team of {self.most} threads")
            self._team, self._size = team, self.most
            self._close = weakref.finalize(self, self._library.close_team, team)
        return self._team
