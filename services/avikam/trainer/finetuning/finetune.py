"""Two-phase LoRA fine-tuning of a checkpoint on conversations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from avikam.model.transformer import Avikam1
from avikam.trainer.examples import Example
from avikam.trainer.finetuning import state
from avikam.trainer.finetuning.adapters import Adapters
from avikam.trainer.finetuning.dataset import Dataset, epoch_batches
from avikam.trainer.finetuning.dropout import AdaptiveDropout
from avikam.trainer.finetuning.layers import LayerChoice, recomputed_layers, released_layers
from avikam.trainer.finetuning.objective import regularized_loss
from avikam.trainer.finetuning.recipe import FinetuneRecipe, Phase
from avikam.trainer.finite import FiniteGuard
from avikam.trainer.likelihood import log_likelihoods, one_per_row
from avikam.trainer.loss import hidden_states
from avikam.trainer.metrics import MetricsFile
from avikam.trainer.packing import Batch
from avikam.trainer.precision import Choice, choose_step
from avikam.trainer.schedule import triangular

_TRIAL_ROWS = 8
"""Examples of the step that chooses the number format."""
Report = Callable[[dict[str, float]], None]


@dataclass(slots=True)
class _Run:
    """The moving parts of a run: the optimiser lives for one phase."""

    optimizer: torch.optim.Optimizer
    at: state.Position
    dropout: AdaptiveDropout
    choice: LayerChoice


class Finetuning:
    """A resumable run in one folder: ``state.pt``, ``best.pt`` and ``metrics.jsonl``.

    ``best.pt`` are the adapters of the lowest validation perplexity so far, which the run ends
    with.
    """

    def __init__(self, folder: Path, model: Avikam1, data: Dataset, recipe: FinetuneRecipe) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._model = model.requires_grad_(False)
        self._data = data
        self._recipe = recipe
        self._device = model.rotary.device
        self.adapters = Adapters(
            model.config, recipe.rank, recipe.alpha, recipe.dropout, recipe.seed
        ).to(self._device)
        self._recompute = recomputed_layers(recipe, model.config.num_layers)
        self._run = self._start()
        self._guard = FiniteGuard()
        self.choice = self._settle_format()
        self._metrics = MetricsFile(folder / "metrics.jsonl", self._run.at.total)

    @property
    def state_file(self) -> Path:
        """Where a run that was interrupted goes on from."""
        return self._folder / "state.pt"

    @property
    def best_file(self) -> Path:
        """Where the adapter with the lowest loss so far lies."""
        return self._folder / "best.pt"

    @property
    def _out_of_time(self) -> bool:
        minutes = self._recipe.minutes
        return minutes is not None and self._run.at.seconds >= 60 * minutes

    @property
    def done(self) -> int:
        """Steps of all phases so far."""
        return self._run.at.total

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(self._steps_of(phase) for phase in self._recipe.phases)

    @property
    def share_done(self) -> float:
        """Progress 0..1 by the tighter of steps and minutes."""
        minutes = self._recipe.minutes
        by_time = self._run.at.seconds / (60 * minutes) if minutes else 0.0
        return max(self.done / self.steps, by_time)

    @property
    def best_perplexity(self) -> float:
        """The lowest validation perplexity so far."""
        return self._run.dropout.best

    def run(self, report: Report) -> None:
        """Train all phases to their end, then take the best adapters back."""
        for number in range(self._run.at.phase, len(self._recipe.phases)):
            self._train(self._recipe.phases[number], report)
            if self._out_of_time:
                break
            self._next_phase(number + 1)
        if self._run.at.validated != self.done:
            self._validate()
        self._save()
        if self.best_file.exists():
            state.load_adapters(self.best_file, self.adapters)

    def perplexity(self) -> float:
        """Of the validation answers, with the adapters as they are."""
        self.adapters.eval()
        examples = self._data.valid[: self._recipe.validation_examples]
        scored = log_likelihoods(self._model, examples, adapt=self.adapters.adapt)
        self.adapters.train()
        tokens = sum(each.tokens for each in scored)
        return math.exp(-sum(each.log_probability for each in scored) / tokens)

    def _start(self) -> _Run:
        at = state.Position(dropout=self._recipe.dropout)
        kept = None
        if self.state_file.exists():
            at, kept = state.load(self.state_file, self.adapters)
        optimizer = self._optimizer()
        if kept:
            optimizer.load_state_dict(kept)
        dropout = AdaptiveDropout(at.dropout, at.best_perplexity)
        self.adapters.dropout = at.dropout
        return _Run(optimizer, at, dropout, LayerChoice(self._recipe, frozenset(at.chosen)))

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe = self._recipe
        return torch.optim.AdamW(
            self.adapters.parameters(),
            betas=recipe.betas,
            eps=recipe.epsilon,
            weight_decay=recipe.decay,
        )

    def _next_phase(self, number: int) -> None:
        self._run.at.phase, self._run.at.step = number, 0
        self._run.optimizer = self._optimizer()
        self._save()

    def _steps_of(self, phase: Phase) -> int:
        """By epochs, or the phase's share of the recipe's ``steps``."""
        own = phase.epochs * self._per_epoch(phase)
        if not self._recipe.steps:
            return own
        whole = sum(each.epochs * self._per_epoch(each) for each in self._recipe.phases)
        return max(1, round(own * self._recipe.steps / whole))

    def _per_epoch(self, phase: Phase) -> int:
        return math.ceil(len(self._data.train) / phase.batch)

    def _settle_format(self) -> Choice:
        """Choose a step's number format, or keep the one that the run began with."""
        at = self._run.at
        if at.format:
            return Choice(at.format, f"a step in {at.format}, as before")
        batch = one_per_row(self._data.train[:_TRIAL_ROWS], self._device)
        choice = choose_step(self._recipe.precision, self._device, lambda: self._loss(batch))
        self.adapters.zero_grad(set_to_none=True)
        at.format = choice.format
        return choice

    def _train(self, phase: Phase, report: Report) -> None:
        at, steps = self._run.at, self._steps_of(phase)
        saved = time.monotonic()
        while at.step < steps and not self._out_of_time:
            epoch, offset = divmod(at.step, self._per_epoch(phase))
            order = (self._recipe.seed, at.phase, epoch)
            for batch in islice(epoch_batches(self._data.train, phase.batch, order), offset, None):
                began = time.monotonic()
                figures = self._step(phase, batch, steps)
                if at.total % self._recipe.validate_every == 0 or at.step == steps:
                    figures |= self._validate()
                self._record(figures, batch, time.monotonic() - began, report)
                if time.monotonic() - saved > self._recipe.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if at.step == steps or self._out_of_time:
                    break

    def _record(
        self, figures: dict[str, float], batch: list[Example], seconds: float, report: Report
    ) -> None:
        tokens = sum(len(example.tokens) for example in batch)
        self._run.at.seconds += seconds
        self._run.at.tokens += tokens
        figures |= {
            "tokens": self._run.at.tokens,
            "tokens_per_second": round(tokens / max(1e-9, seconds), 1),
            "seconds": round(self._run.at.seconds, 1),
        }
        self._metrics.append(figures)
        report(figures)

    def _step(self, phase: Phase, examples: list[Example], steps: int) -> dict[str, float]:
        run, at = self._run, self._run.at
        torch.manual_seed(self._recipe.seed * 1_000_003 + at.total)  # dropout, whatever came before
        rate = triangular(
            at.step, steps, phase.rate, phase.minimum_rate, math.ceil(phase.warmup * steps)
        )
        released = released_layers(phase, self.adapters.layers, at.step / steps)
        run.choice.before(self.adapters, released, at.step)
        loss = self._backward(examples)
        run.choice.after(self.adapters, released, at.step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.adapters.parameters(), self._recipe.clip))
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        good = self._guard.passes(loss, norm)
        if good:
            run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        at.step += 1
        at.total += 1
        if not good:
            return self._skipped(loss, norm)
        figures = {"step": at.total, "phase": at.phase + 1, "loss": loss, "rate": rate}
        return figures | {"norm": norm, "layers": len(run.choice.chosen)}

    def _skipped(self, loss: float, norm: float) -> dict[str, float]:
        """Count a step that changed nothing; several in a row end the run with the state before."""
        at = self._run.at
        at.skipped += 1
        if self._guard.gives_up:
            self._save()
            raise FloatingPointError(
                f"loss {loss} and gradient norm {norm} at step {at.total}, as in the steps before; "
                f"{self.state_file} holds the last good state, go on from it with lower rates"
            )
        return {"step": at.total, "phase": at.phase + 1, "skipped": 1}

    def _backward(self, examples: list[Example]) -> float:
        recipe = self._recipe
        counted = sum(sum(example.counts[1:]) for example in examples)
        total = 0.0
        for start in range(0, len(examples), recipe.micro_batch):
            batch = one_per_row(examples[start : start + recipe.micro_batch], self._device)
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self._run.at.format == "bfloat16"
            ):
                loss = self._loss(batch) / counted
            loss.backward()
            total += float(loss.detach())
        return total

    def _loss(self, batch: Batch) -> Tensor:
        hidden = hidden_states(self._model, batch, self._recompute, self.adapters.adapt)
        chosen = batch.targets != -100
        return regularized_loss(
            self._model.logits(hidden[chosen]),
            batch.targets[chosen],
            self.adapters.parameters(),
            self._recipe.l1,
            self._recipe.l2,
        )

    def _validate(self) -> dict[str, float]:
        perplexity, run = self.perplexity(), self._run
        run.at.validated = run.at.total
        if perplexity < run.dropout.best:
            state.save_adapters(self.best_file, self.adapters)
        rate = run.dropout.observe(perplexity)
        if self._recipe.adaptive_dropout:
            self.adapters.dropout = rate
        return {"valid/perplexity": perplexity, "dropout": self.adapters.dropout}

    def _save(self) -> None:
        at = self._run.at
        at.dropout, at.best_perplexity = self.adapters.dropout, self._run.dropout.best
        at.chosen = sorted(self._run.choice.chosen)
        state.save(self.state_file, self.adapters, self._run.optimizer, at)
