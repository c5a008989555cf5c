"""Rank 0's hold on the others: it starts them, tells them, watches them and ends them."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from dataclasses import replace
from pathlib import Path

from avikam.engine.parallel.rank import Rank, RankSetup
from avikam.engine.parallel.slots import ShardedSlots
from avikam.model.attention.plan import StepPlan
from avikam.model.checkpoint import Checkpoint
from avikam.model.lora import Adapter, AppliedAdapter
from avikam.model.parallel.group import RankLostError

log = logging.getLogger(__name__)

_GOODBYE_SECONDS = 5.0


class RankTeam:
    """All ranks of one engine. Building it starts the followers and waits until all are ready.

    Raises :class:`RankLostError` when one of them cannot begin.
    """

    def __init__(self, setup: RankSetup, checkpoint: Checkpoint) -> None:
        self._closing = False
        self._lost = threading.Event()
        self._dropped: deque[str] = deque()
        self._folder = tempfile.TemporaryDirectory(prefix="avikam-ranks-")
        setup = replace(setup, meeting=str(Path(self._folder.name) / "meeting"))
        self._followers = [_start(replace(setup, rank=r)) for r in range(1, setup.ranks)]
        try:
            self.rank = Rank(setup, checkpoint)
        except BaseException:
            self._end_followers(patience=0.0)
            raise
        self.slots = ShardedSlots(checkpoint.config, self.rank.cache, self.rank.control)
        for follower in self._followers:
            threading.Thread(target=self._watch, args=(follower,), daemon=True).start()

    @property
    def whole(self) -> bool:
        """Whether every rank is there."""
        return not self._lost.is_set()

    def step(
        self, plan: StepPlan, tokens: list[int], adapted: list[tuple[AppliedAdapter, list[int]]]
    ) -> None:
        """Let the followers begin the step that rank 0 is about to compute."""
        if not self.whole:
            raise RankLostError("a rank of the model has ended")
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        self.rank.control.send(
            {
                "do": "step",
                "slots": plan.decode_slots,
                "positions": plan.decode_positions,
                "chunks": [(c.slot, c.position, c.length) for c in plan.chunks],
                "tokens": tokens,
                "adapted": [(adapter.digest, rows) for adapter, rows in adapted],
                "dropped": dropped,
            }
        )

    def apply(self, adapter: Adapter, folder: Path) -> AppliedAdapter:
        """Give every rank its part of an adapter; they drop it when nobody here holds it."""
        applied = self.rank.apply(adapter)
        self.rank.control.send({"do": "adapter", "folder": str(folder), "digest": adapter.digest})
        weakref.finalize(applied, self._dropped.append, adapter.digest)
        return applied

    def close(self) -> None:
        """Send the followers home."""
        self._closing = True
        with contextlib.suppress(RankLostError):
            self.rank.control.send({"do": "stop"})
        self._end_followers(_GOODBYE_SECONDS)

    def _end_followers(self, patience: float) -> None:
        for follower in self._followers:
            try:
                follower.wait(patience)
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()
            if follower.stdin is not None:
                follower.stdin.close()
        self._folder.cleanup()

    def _watch(self, follower: subprocess.Popen[bytes]) -> None:
        status = follower.wait()
        if not self._closing:
            log.critical("rank process %d ended with status %d", follower.pid, status)
            self._lost.set()


def _start(setup: RankSetup) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "avikam.engine.parallel.follower"]
    follower = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - this very program
    if follower.stdin is None:
        raise RankLostError("a rank started without standard input")
    follower.stdin.write(setup.to_json() + b"\n")
    follower.stdin.flush()
    return follower
