"""What steps in flight ask of an accelerator; CUDA's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

_WARM_UPS = 2  # kernels are compiled and workspaces allocated before a capture

Replay = Callable[[], None]


class Fence(Protocol):
    """A point in the device's queue."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""


class Accelerator(Protocol):
    """One queue: what is asked for here happens in order, but later than the call returns."""

    def pinned(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """Zeroed host memory that copies can read and write while the host goes on."""

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Queue a copy; a pinned end must not be touched until a fence behind it is reached."""

    def fence(self) -> Fence:
        """The end of the queue as it is now."""

    def capture(self, work: Callable[[], None]) -> Replay:
        """Record ``work``, which must be safe to run now; every replay repeats its kernels on
        the same memory, without its Python."""


class CudaAccelerator:
    """The current device's current stream. CUDA graphs share one pool of memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def pinned(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """Zeros of shape (rows, columns) in host memory that the GPU copies from by itself."""
        return torch.zeros(rows, columns, dtype=dtype, pin_memory=True)

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Begin a copy and return; a :meth:`fence` tells when it has arrived."""
        target.copy_(source, non_blocking=True)

    def fence(self) -> Fence:
        """A mark behind everything that the GPU was asked for so far."""
        event = torch.cuda.Event()
        event.record()
        return event

    def capture(self, work: Callable[[], None]) -> Replay:
        """Record what ``work`` launches as a CUDA graph, after some runs that warm it up."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        replay: Replay = graph.replay
        return replay
