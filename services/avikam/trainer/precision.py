"""Which number format a training step is fastest in, on this machine: measured, not guessed.

bfloat16 halves the time of a step where the processor multiplies it in hardware (AMX, AVX512-BF16,
CUDA) and makes it thirteen times slower where it does not. The optimiser's iteration is measured by
itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avikam.trainer.muon import orthogonal

Format = Literal["bfloat16", "float32"]
Wanted = Literal["auto", "bfloat16", "float32"]
_HOPELESS = 3.0
"""A format that needs this many times as long is not measured a second time."""
DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Choice:
    """A format and why it was chosen, in words for the log."""

    format: Format
    why: str


def choose_step(wanted: Wanted, device: torch.device, step: Callable[[], Tensor]) -> Choice:
    """The format of a training step; ``step`` returns a loss and runs under autocast."""

    def run(kind: Format) -> None:
        with torch.autocast(device.type, torch.bfloat16, kind == "bfloat16"):
            loss = step()
        loss.backward()

    return _choose("a step", wanted, device, run)


def choose_iteration(wanted: Wanted, device: torch.device, matrix: Tensor) -> Choice:
    """The format of Muon's iteration over a matrix like ``matrix``."""
    return _choose("Muon's iteration", wanted, device, lambda kind: _orthogonal(matrix, kind))


def _orthogonal(matrix: Tensor, kind: Format) -> None:
    orthogonal(matrix.detach(), DTYPES[kind])


def _choose(
    what: str, wanted: Wanted, device: torch.device, run: Callable[[Format], None]
) -> Choice:
    if wanted != "auto":
        return Choice(wanted, f"{what} in {wanted}, as the recipe says")
    if device.type == "cuda":
        kind: Format = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        return Choice(kind, f"{what} in {kind}, which this GPU multiplies in hardware")
    run("float32")  # the first run of all pays for memory and caches
    full = min(_seconds(run, "float32") for _ in range(2))
    half = _seconds(run, "bfloat16")
    if half < _HOPELESS * full:
        half = min(half, _seconds(run, "bfloat16"))
    chosen: Format = "bfloat16" if half < full else "float32"
    return Choice(
        chosen, f"{what} in {chosen}: {full:.3f} CPU-s in float32, {half:.3f} in bfloat16"
    )


def _seconds(run: Callable[[Format], None], kind: Format) -> float:
    """Processor time, which other programs on the machine do not change."""
    start = time.process_time()
    run(kind)
    return time.process_time() - start
