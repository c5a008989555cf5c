"""A rank other than 0: a process that does what it is told until its parent goes.

Standard input brings the setup in one line and then nothing: when it closes, the worker is gone,
however it ended, and so is this process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import torch

from avikam.engine.parallel.control import Order
from avikam.engine.parallel.rank import Rank, RankSetup
from avikam.engine.parallel.slots import flatten, unflatten
from avikam.engine.runner import compute
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.snapshot import Snapshot
from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import ModelConfig
from avikam.model.lora import AppliedAdapter
from avikam.model.lora_files import read_adapter
from avikam.model.parallel.group import RankLostError

log = logging.getLogger(__name__)


def main() -> int:
    """Follow to the end; exit status 0 when rank 0 said so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the worker, which drains
    setup = RankSetup.from_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    checkpoint = load_checkpoint(Path(setup.model), verify=False)  # rank 0 has verified it
    try:
        Follower(Rank(setup, checkpoint), checkpoint.config).follow()
    except RankLostError as error:
        log.error("%s", error)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)  # the main thread may be inside a collective that never ends


class Follower:
    """Does one order after another."""

    def __init__(self, rank: Rank, whole: ModelConfig) -> None:
        self._rank = rank
        self._whole = whole
        self._adapters: dict[str, AppliedAdapter] = {}

    def follow(self) -> None:
        """Until the order to stop."""
        while (order := self._rank.control.receive())["do"] != "stop":
            getattr(self, f"_do_{order['do']}")(order)

    @torch.inference_mode()
    def _do_step(self, order: Order) -> None:
        for digest in order["dropped"]:
            self._adapters.pop(digest, None)
        plan = StepPlan(
            tuple(order["slots"]),
            tuple(order["positions"]),
            tuple(Chunk(*chunk) for chunk in order["chunks"]),
        )
        adapted = [(self._adapters[digest], rows) for digest, rows in order["adapted"]]
        tokens = torch.tensor(order["tokens"])
        compute(self._rank.model, self._rank.cache, plan, tokens, adapted)

    def _do_adapter(self, order: Order) -> None:
        adapter = read_adapter(Path(order["folder"]), self._whole)
        if adapter.digest != order["digest"]:
            raise RankLostError(f"adapter {order['folder']} changed while it was loaded")
        self._adapters[adapter.digest] = self._rank.apply(adapter)

    def _do_clear(self, order: Order) -> None:
        self._rank.cache.clear(order["slot"])

    def _do_snapshot(self, order: Order) -> None:
        state = self._rank.cache.snapshot(order["slot"], order["seen"])
        self._rank.control.gather(flatten(state))

    def _do_restore(self, order: Order) -> None:
        cache, seen = self._rank.cache, order["seen"]
        layers = range(self._whole.num_layers)
        size = sum(form.bytes for i in layers for form in cache.entry_formats(i, seen))
        everybodys = torch.empty(self._rank.setup.ranks, size, dtype=torch.uint8)
        row = self._rank.control.spread(everybodys)
        cache.restore(order["slot"], Snapshot(seen, unflatten(row, cache, seen)))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s rank: %(message)s")
    sys.exit(main())
