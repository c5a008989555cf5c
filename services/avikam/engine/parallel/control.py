"""Orders from rank 0 to the others, and states of slots between them, over loopback."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from avikam.model.parallel.group import RankLostError, dist, gloo, meeting_store

Order = dict[str, Any]

_FIRST_PART = 8192  # bytes; nearly every order fits, so it takes one exchange
_IDLE = timedelta(days=365)  # a follower waits for the next order as long as it takes
_LENGTH_BYTES = 8


class ControlChannel:
    """A group beside the model's: only small things and host memory travel here.

    Rank 0 may use it from several threads; :attr:`exchange` keeps an order and the bytes that
    belong to it together.
    """

    def __init__(self, meeting: Path, rank: int, ranks: int) -> None:
        self.rank = rank
        self.ranks = ranks
        self.exchange = threading.RLock()
        store = dist.PrefixStore("control", meeting_store(meeting, ranks))
        try:
            self._group = gloo(store, rank, ranks, _IDLE)
        except RuntimeError as error:
            raise RankLostError(f"rank {rank} of {ranks} met nobody: {error}") from error

    def send(self, order: Order) -> None:
        """Tell every follower; only rank 0 does."""
        text = orjson.dumps(order)
        message = len(text).to_bytes(_LENGTH_BYTES, "little") + text
        padded = message.ljust(_FIRST_PART, b"\0")
        with self.exchange:
            self._broadcast(_bytes(padded[:_FIRST_PART]))
            if len(padded) > _FIRST_PART:
                self._broadcast(_bytes(padded[_FIRST_PART:]))

    def receive(self) -> Order:
        """The next order; waits for it."""
        first = torch.empty(_FIRST_PART, dtype=torch.uint8)
        self._broadcast(first)
        message = first.numpy().tobytes()
        length = _LENGTH_BYTES + int.from_bytes(message[:_LENGTH_BYTES], "little")
        if length > _FIRST_PART:
            rest = torch.empty(length - _FIRST_PART, dtype=torch.uint8)
            self._broadcast(rest)
            message += rest.numpy().tobytes()
        order: Order = orjson.loads(message[_LENGTH_BYTES:length])
        return order

    def gather(self, mine: Tensor) -> list[Tensor]:
        """Everybody's bytes [n], in order of rank; all ranks call it."""
        parts = [torch.empty_like(mine) for _ in range(self.ranks)]
        self._wait(lambda: self._group.allgather([parts], [mine]))
        return parts

    def spread(self, everybodys: Tensor) -> Tensor:
        """Rank 0's bytes [ranks, n] to all; returns one's own row [n]. All ranks call it."""
        self._broadcast(everybodys)
        return everybodys[self.rank]

    def meet(self) -> None:
        """Wait until every rank is here."""
        self.gather(torch.zeros(1, dtype=torch.uint8))

    def _broadcast(self, tensor: Tensor) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = 0
        self._wait(lambda: self._group.broadcast([tensor], options))

    def _wait(self, begin: Any) -> None:
        try:
            begin().wait()
        except RuntimeError as error:
            raise RankLostError(f"rank {self.rank} lost the others: {error}") from error


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
