"""What a fine-tuning run keeps so that it goes on as if it had never stopped."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from avikam.trainer.precision import Format


@dataclass(slots=True)
class Position:
    """``step`` counts within ``phase``, ``total`` over the run; dropout and layers are as then.

    ``format`` is the number format of the run's steps, ``validated`` the step last validated at.
    """

    phase: int = 0
    step: int = 0
    total: int = 0
    dropout: float = 0.0
    best_perplexity: float = float("inf")
    chosen: list[int] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    skipped: int = 0
    validated: int = -1
    format: Format | None = None


def save(
    path: Path, adapters: torch.nn.Module, optimizer: torch.optim.Optimizer, at: Position
) -> None:
    """Write beside, then rename."""
    payload = {
        "adapters": adapters.state_dict(),
        "optimizer": optimizer.state_dict(),
        "position": asdict(at),
    }
    _write(path, payload)


def save_adapters(path: Path, adapters: torch.nn.Module) -> None:
    """Only the adapters, written like a state."""
    _write(path, {"adapters": adapters.state_dict()})


def load_adapters(path: Path, adapters: torch.nn.Module) -> None:
    """Restore the adapters of :func:`save` or :func:`save_adapters`."""
    payload = torch.load(path, map_location="cpu", weights_only=True)
    adapters.load_state_dict(payload["adapters"])


def _write(path: Path, payload: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    torch.save(payload, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path, adapters: torch.nn.Module) -> tuple[Position, dict[str, Any]]:
    """Restore the adapters; returns the position and the optimiser's state."""
    payload = torch.load(path, map_location="cpu", weights_only=True)
    adapters.load_state_dict(payload["adapters"])
    position = Position(**payload["position"])
    return position, payload["optimizer"]
