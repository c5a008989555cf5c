"""Pretraining from scratch: packed rows, Muon, a schedule by steps or by wall-clock budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import field
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avikam.model.transformer import Avikam1
from avikam.trainer.examples import Example
from avikam.trainer.feeding import Fed, feed
from avikam.trainer.finite import FiniteGuard
from avikam.trainer.loss import counted_loss, every_nth_layer, hidden_states, summed_loss
from avikam.trainer.metrics import MetricsFile
from avikam.trainer.mixture import Mixture
from avikam.trainer.optimizers import LearningRates, build_optimizers, set_rate, split_weights
from avikam.trainer.packing import Batch, pack
from avikam.trainer.parallel import World
from avikam.trainer.precision import DTYPES, Choice, Wanted, choose_iteration, choose_step
from avikam.trainer.recipe import recipe
from avikam.trainer.schedule import warm_stable_decay
from avikam.trainer.state import Progress, load_optimizers, load_state, save_state


def _shares() -> dict[str, float]:
    return {
        "everyday-pairs": 0.56,
        "other-pairs": 0.09,
        "sentences": 0.07,
        "prose": 0.09,
        "chat": 0.06,
        "talk": 0.025,
        "arithmetic": 0.02,
        "logic": 0.02,
        "quiz": 0.01,
        "reading": 0.045,
        "word-problems": 0.01,
    }


@recipe
class PretrainConfig:
    """One run. It ends at ``steps`` or after ``minutes`` (None = no limit), whichever comes first.

    ``model`` is a preset and ``model_changes`` what differs from it. ``rows`` x ``length`` tokens
    make a step over all ranks, ``micro_rows`` of them at a time on each (0 = all at once).
    ``weights`` are shares of tokens per source of :mod:`avikam.trainer.sources`.
    ``recompute_every`` checkpoints the gradients of every n-th layer (0 = none). ``precision`` of a
    step and ``iteration`` of Muon are number formats; ``auto`` measures which one is faster here.
    Off a terminal every ``log_every``-th step prints a line.
    """

    model: str = "avikam1-nano"
    model_changes: dict[str, Any] = field(default_factory=dict)
    steps: int = 2000
    minutes: float | None = None
    rows: int = 32
    micro_rows: int = 0
    length: int = 256
    seed: int = 0
    clip: float = 1.0
    warmup: float = 0.02
    decay: float = 0.45
    checkpoint_seconds: float = 180.0
    validate_every: int = 100
    recompute_every: int = 0
    precision: Wanted = "auto"
    iteration: Wanted = "auto"
    log_every: int = 20
    compile: bool = True
    rates: LearningRates = field(default_factory=LearningRates)
    weights: dict[str, float] = field(default_factory=_shares)

    def share_done(self, progress: Progress) -> float:
        """Progress 0..1 by the tighter of the two limits."""
        by_time = progress.seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(progress.step / self.steps, by_time)


_TRIAL_TOKENS = 512
"""How much text the measured step has: enough to tell the formats apart, soon done."""
Report = Callable[[dict[str, float]], None]
"""Called with the figures of each step."""
Validate = Callable[[Avikam1], dict[str, float]]


class Objective(nn.Module):
    """The model with its loss as one module, which is what data parallelism wraps."""

    def __init__(self, model: Avikam1, config: PretrainConfig) -> None:
        super().__init__()
        self.model = model
        self._recompute = every_nth_layer(model.config.num_layers, config.recompute_every)
        self._forward = torch.compile(hidden_states) if config.compile else hidden_states
        self._loss = torch.compile(summed_loss, dynamic=True) if config.compile else summed_loss

    def forward(self, batch: Batch) -> Tensor:
        """Summed loss of the counted targets."""
        hidden = self._forward(self.model, batch, self._recompute)
        return self._loss(self.model, hidden, batch.targets)


class Pretraining:
    """A resumable run in one folder: ``state.pt`` and ``metrics.jsonl``.

    ``before-decay.pt`` is the state when the rate begins to fall: what a longer run goes on from.

    ``earlier`` tells of the runs behind the weights that ``model`` comes with.
    """

    def __init__(
        self,
        folder: Path,
        model: Avikam1,
        mixture: Mixture,
        config: PretrainConfig,
        world: World | None = None,
        earlier: list[dict[str, int]] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._world = world or World(torch.device("cpu"))
        self._model = model.to(self._world.device)
        self._config = config
        self._mixture = mixture
        self.progress = Progress(earlier=earlier or [])
        if self.state_file.exists():
            self.progress = load_state(self.state_file, self._model)
            mixture.restore(self.progress.mixture)
        self.choices = self._settle_formats()
        iteration = DTYPES[self.progress.formats["iteration"]]
        self._optimizers = build_optimizers(self._model, config.rates, iteration)
        if self.state_file.exists():
            load_optimizers(self.state_file, self._optimizers)
        self._objective = self._world.share(Objective(self._model, config))
        self._guard = FiniteGuard()
        self._metrics = MetricsFile(folder / "metrics.jsonl", self.progress.step)

    def _settle_formats(self) -> list[str]:
        """Choose what the run has not chosen yet, all ranks alike; returns why, for the log."""
        config, formats = self._config, self.progress.formats
        if formats:
            return [f"{what} in {kind}, as before" for what, kind in formats.items()]
        choices = measured_formats(self._model, config, self._world.device)
        for what, choice in choices.items():
            half = self._world.agree(float(choice.format == "bfloat16"))
            formats[what] = "bfloat16" if half else "float32"
        return [choice.why for choice in choices.values()]

    @property
    def state_file(self) -> Path:
        """Where a run that was interrupted goes on from."""
        return self._folder / "state.pt"

    def run(self, validate: Validate, report: Report) -> None:
        """Train to the end of the schedule, saving and validating on the way."""
        saved = started = time.monotonic()
        before = self.progress.seconds
        batches = feed(self._mixture, self._config.rows, self._config.length)
        while self._config.share_done(self.progress) < 1.0:
            self._keep_before_decay()
            began = time.monotonic()
            figures = self._step(next(batches))
            now = time.monotonic()
            figures["step_seconds"] = now - began
            self.progress.seconds = self._world.agree(before + now - started)
            if self.progress.step % self._config.validate_every == 0:
                figures |= validate(self._model)
            self._record(figures, report)
            if now - saved > self._config.checkpoint_seconds:
                self.save()
                saved = now
        batches.close()
        self.save()

    def save(self) -> None:
        """Write the state; rank 0 does it for all."""
        if self._world.leads:
            save_state(self.state_file, self._model, self._optimizers, self.progress)

    def _keep_before_decay(self) -> None:
        path = self._folder / "before-decay.pt"
        stable = 1.0 - self._config.decay
        falling = stable <= self._config.share_done(self.progress)
        if falling and self.progress.step and self._world.leads and not path.exists():
            save_state(path, self._model, self._optimizers, self.progress)

    def _step(self, fed: Fed) -> dict[str, float]:
        config = self._config
        factor = warm_stable_decay(config.share_done(self.progress), config.warmup, config.decay)
        set_rate(self._optimizers, max(factor, 1e-3))
        loss = self._backward(fed.batch)
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), config.clip))
        good = self._guard.passes(loss, norm)
        for optimizer in self._optimizers:
            if good:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.tokens += fed.batch.tokens.numel()
        self.progress.mixture = fed.mixture
        if not good:
            return self._skipped(loss, norm)
        return {"step": self.progress.step, "loss": loss, "rate": factor, "norm": norm}

    def _skipped(self, loss: float, norm: float) -> dict[str, float]:
        """Count a step that changed nothing; after several in a row the run ends.

        The weights are those before the first of them, so what is saved is the last good state.
        """
        self.progress.skipped += 1
        if self._guard.gives_up:
            if all(bool(w.isfinite().all()) for w in self._model.parameters()):
                self.save()
            raise FloatingPointError(
                f"loss {loss} and gradient norm {norm} at step {self.progress.step}, as in the "
                f"steps before; {self.state_file} holds the last good state, go on from it with "
                "lower rates"
            )
        return {"step": self.progress.step, "skipped": 1}

    def _backward(self, batch: Batch) -> float:
        """Gradients of the mean loss over the whole batch, of which this rank computes its rows.

        Ranks average their gradients, so each scales its sum by ranks / counted targets.
        """
        world, counted = self._world, max(1, batch.counted)
        own = batch.rows(world.rank, world.size).to(world.device)
        total = 0.0
        for piece in own.split(self._config.micro_rows or len(own.tokens)):
            with torch.autocast(world.device.type, torch.bfloat16, self._mixed):
                loss: Tensor = self._objective(piece) * (world.size / counted)
            loss.backward()
            total += float(loss.detach())
        return world.total(total / world.size)

    @property
    def _mixed(self) -> bool:
        return self.progress.formats["step"] == "bfloat16"

    def _record(self, figures: dict[str, float], report: Report) -> None:
        if not self._world.leads:
            return
        rates = {
            f"rate_{name}": getattr(self._config.rates, name) * figures["rate"]
            for name in ("matrices", "vectors")
            if "rate" in figures
        }
        speed = self._config.rows * self._config.length / max(1e-9, figures.pop("step_seconds"))
        figures |= rates | {
            "tokens": self.progress.tokens,
            "tokens_per_second": round(speed, 1),
            "seconds": round(self.progress.seconds, 1),
        }
        self._metrics.append(figures)
        report(figures)


def measured_formats(
    model: Avikam1, config: PretrainConfig, device: torch.device
) -> dict[str, Choice]:
    """The number format of a step and of Muon's iteration, by what the recipe wants."""
    batch = _trial_batch(model, config).to(device)

    def step() -> Tensor:
        return summed_loss(model, hidden_states(model, batch), batch.targets)

    matrices, _ = split_weights(model)
    largest = max(matrices, key=lambda weight: weight.numel())
    choices = {
        "step": choose_step(config.precision, device, step),
        "iteration": choose_iteration(config.iteration, device, largest),
    }
    model.zero_grad(set_to_none=True)
    return choices


def _trial_batch(model: Avikam1, config: PretrainConfig) -> Batch:
    """A few hundred tokens, of which half are counted."""
    length = min(config.length, _TRIAL_TOKENS)
    tokens = list(range(model.config.vocab_size))[: length + 1]
    tokens += [0] * (length + 1 - len(tokens))
    example = Example(tokens, [i % 2 == 0 for i in range(length + 1)])
    return pack(repeat(example), max(1, _TRIAL_TOKENS // length), length)


@torch.no_grad()
def validation_losses(model: Avikam1, batches: Mapping[str, list[Batch]]) -> dict[str, float]:
    """Mean counted loss of each named list of batches."""
    losses = {}
    for name, group in batches.items():
        total = sum(
            float(counted_loss(model, hidden_states(model, b), b.targets)) * b.counted
            for b in (batch.to(model.rotary.device) for batch in group)
        )
        losses[f"valid/{name}"] = total / max(1, sum(b.counted for b in group))
    return losses


def validation_batches(
    mixtures: Mapping[str, Mixture], rows: int, length: int
) -> dict[str, list[Batch]]:
    """One packed batch per source of a held-out mixture."""
    return {name: [pack(iter(mixture), rows, length)] for name, mixture in mixtures.items()}
