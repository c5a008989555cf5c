"""What a device can do at best, measured: the yardstick of the engine's own figures.

A decode step reads every weight once, so memory bounds it; a long prompt multiplies each weight
with many rows, so arithmetic does (Williams et al. 2009, the roofline model).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType

_BYTES_IN_BLOCKS: dict[WeightType, float] = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "int8": 1.0,
    "llm-int8": 1.0,
    "int4": 0.5625,
    "nf4": 0.5625,
}


@dataclass(frozen=True, slots=True)
class Roofline:
    """``bytes_per_second`` of a large copy, ``operations_per_second`` of a large product."""

    bytes_per_second: float
    operations_per_second: float


def measure_roofline(
    device: str, dtype: torch.dtype, *, copied: int = 2**30, width: int = 8192
) -> Roofline:
    """Copy ``copied`` bytes, and multiply square matrices of ``width``."""
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    left = torch.zeros(width, width, dtype=dtype, device=device)
    product = torch.empty_like(left)
    copy = _seconds(lambda: target.copy_(source), device)
    multiply = _seconds(lambda: torch.mm(left, left, out=product), device)
    return Roofline(2 * copied / copy, 2 * width**3 / multiply)


def bytes_per_step(config: ModelConfig, kind: WeightType) -> float:
    """Weights that a decode step of one stream reads; the embedding table is not among them."""
    matrix = config.vocab_size * config.hidden_size
    blocks = config.parameter_count(active=True) - matrix * (1 if config.tie_embeddings else 2)
    head = _BYTES_IN_BLOCKS[kind] if kind == "float32" else 2.0
    return blocks * _BYTES_IN_BLOCKS[kind] + matrix * head


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def _seconds(work: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(6):
        synchronize(device)
        before = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])
