"""The ranks of one model, and the sums they take together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, distributed

# Its classes of groups and stores have incomplete stubs.
dist: Any = distributed

_PATIENCE = timedelta(seconds=120)  # for a rank that still loads, or computes


class RankLostError(RuntimeError):
    """Another rank of the model is gone: this one cannot go on alone."""


class RankGroup(Protocol):
    """What a rank's products need from the others."""

    @property
    def rank(self) -> int:
        """Which of the ranks this one is, from 0."""

    @property
    def ranks(self) -> int:
        """How many there are."""

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks; may reuse ``tensor``."""

    def max(self, tensor: Tensor) -> Tensor:
        """The largest over all ranks; may reuse ``tensor``."""


class ProcessRanks:
    """Ranks in processes of their own: NCCL between GPUs, gloo between CPUs."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.rank: int = backend.rank()
        self.ranks: int = backend.size()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, of one shape, on every rank."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def max(self, tensor: Tensor) -> Tensor:
        """The largest over all ranks, of one shape, on every rank."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def _reduce(self, tensor: Tensor, operation: Any) -> Tensor:
        tensor = tensor.contiguous()
        options = dist.AllreduceOptions()
        options.reduceOp = operation
        try:
            self._backend.allreduce([tensor], options).wait()
        except RuntimeError as error:
            raise RankLostError(f"rank {self.rank} lost the others: {error}") from error
        return tensor


def connect(meeting: Path, rank: int, ranks: int, device: str) -> ProcessRanks:
    """Meet the other ranks of this machine at the file ``meeting``; waits for all of them."""
    store = dist.PrefixStore("model", meeting_store(meeting, ranks))
    try:
        if device == "cpu":
            return ProcessRanks(gloo(store, rank, ranks, _PATIENCE))
        return ProcessRanks(_nccl(store, rank, ranks))
    except RuntimeError as error:
        raise RankLostError(f"rank {rank} of {ranks} met nobody: {error}") from error


def meeting_store(meeting: Path, ranks: int) -> Any:
    """Where the ranks of one engine find each other: a file that all can reach."""
    store = dist.FileStore(str(meeting), ranks)
    store.set_timeout(_PATIENCE)
    return store


def gloo(store: Any, rank: int, ranks: int, timeout: timedelta) -> Any:
    """A gloo group on the loopback interface, whatever the host's name resolves to."""
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    options._timeout = timeout
    return dist.ProcessGroupGloo(store, rank, ranks, options)


def _nccl(store: Any, rank: int, ranks: int) -> Any:
    torch.cuda.set_device(rank)
    options = dist.ProcessGroupNCCL.Options()
    return dist.ProcessGroupNCCL(store, rank, ranks, options)
