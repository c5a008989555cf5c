"""Pretraining from scratch: packed rows, Muon, a schedule by steps or by wall-clock budget."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from avikam.model.transformer import Avikam1
from avikam.trainer.examples import Example
from avikam.trainer.loss import counted_loss, hidden_states
from avikam.trainer.mixture import Mixture
from avikam.trainer.optimizers import LearningRates, build_optimizers, set_rate
from avikam.trainer.packing import Batch, pack
from avikam.trainer.schedule import warm_stable_decay
from avikam.trainer.state import Progress, load_state, save_state


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """One run. It ends at ``steps`` or after ``minutes``, whichever comes first.

    ``weights`` are shares of tokens per source of :mod:`avikam.trainer.sources`.
    """

    steps: int = 2000
    minutes: float = 120.0
    rows: int = 32
    length: int = 256
    seed: int = 0
    clip: float = 1.0
    warmup: float = 0.02
    decay: float = 0.45
    checkpoint_seconds: float = 180.0
    validate_every: int = 100
    compile: bool = True
    rates: LearningRates = field(default_factory=LearningRates)
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "everyday-pairs": 0.62,
            "other-pairs": 0.07,
            "sentences": 0.08,
            "prose": 0.09,
            "chat": 0.06,
            "talk": 0.015,
            "exercises": 0.025,
            "knowledge": 0.03,
            "reasoning": 0.01,
        }
    )

    def share_done(self, progress: Progress) -> float:
        """Progress 0..1 by the tighter of the two limits."""
        return max(progress.step / self.steps, progress.seconds / (60 * self.minutes))


Report = Callable[[dict[str, float]], None]
"""Called with the figures of each step."""


class Pretraining:
    """A resumable run in one folder: ``state.pt`` and ``metrics.jsonl``."""

    def __init__(
        self, folder: Path, model: Avikam1, mixture: Mixture, config: PretrainConfig
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._model = model
        self._config = config
        self._mixture = mixture
        self._optimizers = build_optimizers(model, config.rates)
        self._forward = torch.compile(hidden_states) if config.compile else hidden_states
        self._loss = torch.compile(counted_loss, dynamic=True) if config.compile else counted_loss
        self.progress = Progress()
        if self.state_file.exists():
            self.progress = load_state(self.state_file, model, self._optimizers)
            mixture.restore(self.progress.mixture)

    @property
    def state_file(self) -> Path:
        return self._folder / "state.pt"

    def run(self, validate: Callable[[Avikam1], dict[str, float]], report: Report) -> None:
        """Train to the end of the schedule, saving and validating on the way."""
        examples = iter(self._mixture)
        saved = started = time.monotonic()
        before = self.progress.seconds
        while self._config.share_done(self.progress) < 1.0:
            figures = self._step(examples)
            now = time.monotonic()
            self.progress.seconds = before + now - started
            if self.progress.step % self._config.validate_every == 0:
                figures |= validate(self._model)
            self._record(figures)
            report(figures)
            if now - saved > self._config.checkpoint_seconds:
                self.save()
                saved = now
        self.save()

    def save(self) -> None:
        self.progress.mixture = self._mixture.state()
        save_state(self.state_file, self._model, self._optimizers, self.progress)

    def _step(self, examples: Iterator[Example]) -> dict[str, float]:
        config = self._config
        factor = warm_stable_decay(config.share_done(self.progress), config.warmup, config.decay)
        set_rate(self._optimizers, max(factor, 1e-3))
        batch = pack(examples, config.rows, config.length)
        loss = self._backward(batch)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), config.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.tokens += batch.tokens.numel()
        return {"step": self.progress.step, "loss": loss, "rate": factor, "norm": float(norm)}

    def _backward(self, batch: Batch) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = self._loss(self._model, self._forward(self._model, batch), batch.targets)
        loss.backward()
        return float(loss.detach())

    def _record(self, figures: dict[str, float]) -> None:
        line = figures | {"seconds": round(self.progress.seconds, 1)}
        with (self._folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@torch.no_grad()
def validation_losses(model: Avikam1, batches: dict[str, list[Batch]]) -> dict[str, float]:
    """Mean counted loss of each named list of batches."""
    losses = {}
    for name, group in batches.items():
        total = sum(
            float(counted_loss(model, hidden_states(model, b), b.targets)) * b.counted
            for b in group
        )
        losses[f"valid/{name}"] = total / max(1, sum(b.counted for b in group))
    return losses


def validation_batches(
    mixtures: dict[str, Mixture], rows: int, length: int
) -> dict[str, list[Batch]]:
    """One packed batch per source of a held-out mixture."""
    return {name: [pack(iter(mixture), rows, length)] for name, mixture in mixtures.items()}
