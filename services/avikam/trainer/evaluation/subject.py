"""The model under test: a checkpoint folder, or the state of a training run with its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import (
    WeightType,
    from_float_weights,
    load_model,
    resolve_weight_type,
    runs_exact,
)
from avikam.model.manifest import CONFIG, TOKENIZER, WEIGHTS
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1
from avikam.trainer.decoding import Advance, Request, greedy
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import Likelihood, log_likelihoods
from avikam.trainer.served import ServedModel
from avikam.trainer.state import read_weights

Turns = list[tuple[str, str]]


@dataclass(slots=True)
class Subject:
    """A model, its tokenizer and what identifies both in a report."""

    model: Avikam1
    tokenizer: Tokenizer
    name: str
    weights: str
    digest: str
    served: ServedModel | None = None  # an int8 model on a CPU: its figures are those of a worker

    def log_likelihoods(self, examples: list[Example], advance: Advance) -> list[Likelihood]:
        """What the model thinks of each example's counted tokens."""
        if self.served:
            return self.served.log_likelihoods(examples, advance)
        return log_likelihoods(self.model, examples, advance=advance)

    def greedy(
        self,
        requests: list[Request],
        stop: int,
        batch: int,
        advance: Advance | None = None,
        never: Collection[int] = (),
    ) -> list[list[int]]:
        """Greedy continuations, ``batch`` side by side."""
        if self.served:
            return self.served.greedy(requests, stop, advance, never)
        return greedy(self.model, requests, stop, batch, advance, never)

    def answer(
        self, prompts: list[str], limits: list[int], batch: int, advance: Advance
    ) -> list[str]:
        """Greedy answers of the assistant to one user turn each."""
        return self.reply([[("user", prompt)] for prompt in prompts], limits, batch, advance)

    def reply(
        self, conversations: list[Turns], limits: list[int], batch: int, advance: Advance
    ) -> list[str]:
        """Greedy answers of the assistant to conversations that end with the user's turn."""
        asked = [self.tokenizer.encode_chat(turns) for turns in conversations]
        room = self.model.config.max_positions
        requests = [Request(p[-max(1, room - n) :], n) for p, n in zip(asked, limits, strict=True)]
        stop = self.tokenizer.eos_id
        never = self.tokenizer.control_ids - {stop}
        ids = self.greedy(requests, stop, batch, advance, never)
        return [self.tokenizer.decode(i) for i in ids]


def load_subject(
    path: Path, tokenizer: Path | None = None, weights: WeightType = "auto", device: str = "cpu"
) -> Subject:
    """Open ``path``: a checkpoint folder, or a ``state.pt`` (float32, needs ``tokenizer``)."""
    if path.is_dir():
        checkpoint = load_checkpoint(path)
        model = load_model(checkpoint, weights, device)
        kind = resolve_weight_type(weights, checkpoint, device)
        own = Tokenizer(checkpoint.tokenizer_file)
        served = ServedModel(checkpoint) if runs_exact(kind, device) else None
        return Subject(model, own, model.config.name, kind, _digest(path), served)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is neither a checkpoint folder nor a training state")
    if tokenizer is None:
        raise ValueError(f"{path} is a training state; pass --tokenizer tokenizer.model with it")
    config, state = read_weights(path)
    model = from_float_weights(config, state).to(device)
    return Subject(model, Tokenizer(tokenizer), config.name, "float32", _sha256(path))


def _digest(folder: Path) -> str:
    """Of what decides the figures: config, weights and tokenizer, but not the model card."""
    parts = [_sha256(folder / name) for name in (CONFIG, WEIGHTS, TOKENIZER)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
