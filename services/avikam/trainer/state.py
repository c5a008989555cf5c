"""Training checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.transformer import Avikam1
from avikam.trainer.precision import Format


@dataclass(slots=True)
class Progress:
    """How far a run has come; ``seconds`` adds up over all its processes.

    ``earlier`` are the runs whose weights this one began with: {steps, tokens, seconds} each.
    ``formats`` are the number formats that were chosen for it, so that a resumed run computes as
    before; ``skipped`` counts the steps left out because they were not finite.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    mixture: dict[str, list[int]] = field(default_factory=dict)
    earlier: list[dict[str, int]] = field(default_factory=list)
    formats: dict[str, Format] = field(default_factory=dict)
    skipped: int = 0

    def summary(self) -> dict[str, int]:
        """What a model card says of the run."""
        return {"steps": self.step, "tokens": self.tokens, "seconds": round(self.seconds)}


def save_state(
    path: Path, model: Avikam1, optimizers: list[torch.optim.Optimizer], progress: Progress
) -> None:
    """Write beside, then rename: a kill at any moment leaves the old or the new file whole."""
    payload = {
        "config": model.config.to_json(),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": [getattr(progress, f.name) for f in fields(progress)],
    }
    beside = path.with_suffix(".partial")
    torch.save(payload, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def load_state(path: Path, model: Avikam1) -> Progress:
    """Restore weights from :func:`save_state`'s file."""
    payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if payload["config"] != model.config.to_json():
        raise ValueError(f"{path} was trained with another model config; start in a new folder")
    model.load_state_dict(payload["model"])
    return Progress(*payload["progress"])


def load_optimizers(path: Path, optimizers: list[torch.optim.Optimizer]) -> None:
    """Restore what the optimisers remember from :func:`save_state`'s file."""
    payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for optimizer, state in zip(optimizers, payload["optimizers"], strict=True):
        optimizer.load_state_dict(state)


def read_weights(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The model config and the weights of a run, without its optimisers."""
    payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return ModelConfig.from_dict(json.loads(payload["config"])), dict(payload["model"])


def read_average(path: Path) -> str:
    """How the weights of a state were averaged; empty for the state of a run."""
    payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return str(payload.get("averaged", ""))


def read_progress(path: Path) -> Progress:
    """How far a run has come."""
    payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return Progress(*payload["progress"])
