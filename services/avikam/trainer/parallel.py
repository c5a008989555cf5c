"""Several processes training one model: torch's own data parallelism.

Start with ``torchrun --nproc-per-node N -m avikam train pretrain ...``. Every rank packs the same
global batch and takes its own rows of it, so a run does not depend on how many ranks it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

BUCKET_MEGABYTES = 512
"""Gradients travel in few large pieces (the specification's figure)."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among the others."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and progress."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over all ranks; itself when there is one rank."""
        if self.size == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=devices, bucket_cap_mb=BUCKET_MEGABYTES, gradient_as_bucket_view=True
        )

    def total(self, value: float) -> float:
        """The sum of every rank's value."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return float(tensor)

    def agree(self, value: float) -> float:
        """Rank 0's value, known to all: clocks differ, decisions must not."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, src=0)
        return float(tensor)


@contextmanager
def joined_world(device: str = "auto") -> Iterator[World]:
    """Join the ranks that torchrun started; alone when it did not."""
    rank, size, place = (_environment(n) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    chosen = pick_device(device, place)
    if size <= 1:
        use_every_core()
        yield World(chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(chosen, rank, size)
    finally:
        distributed.destroy_process_group()


def _environment(name: str) -> int:
    return int(os.environ.get(name, "0"))


def pick_device(name: str, index: int = 0) -> torch.device:
    """``auto`` is CUDA where there is one; ``index`` is this process's device on its machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("device cuda was asked for but torch sees none; use --device cpu")
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    return torch.device(name)


def use_every_core() -> None:
    """Let torch use all processors this process may run on, hardware threads included.

    Its own default is one thread per physical core; ``OMP_NUM_THREADS`` overrides both.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
