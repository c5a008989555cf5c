"""Small models and examples for tests that need no trained ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from avikam.model.checkpoint import Checkpoint, load_checkpoint, write_checkpoint
from avikam.model.config import ModelConfig, preset
from avikam.model.quantize import quantize_state
from avikam.model.transformer import Avikam1, initialize
from avikam.trainer.examples import Example


def tiny_model(spread: float = 6.0, **changes: Any) -> Avikam1:
    """Two layers with a short window; ``spread`` widens the weights so that tokens differ."""
    small = {"window": 8, "stride": 4, "max_positions": 64}
    model = Avikam1(tiny_config(**small | changes))
    initialize(model, 0)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.mul_(spread)
    return model


def tiny_config(**changes: Any) -> ModelConfig:
    return preset("avikam1-test").with_changes(**changes)


def random_tokens(rng: random.Random, length: int, vocabulary: int = 512) -> list[int]:
    return [rng.randrange(vocabulary) for _ in range(length)]


def random_example(rng: random.Random, length: int) -> Example:
    """Tokens of which the loss counts about half."""
    return Example(random_tokens(rng, length), [rng.random() < 0.5 for _ in range(length)])


def tiny_checkpoint(folder: Path, **changes: Any) -> Checkpoint:
    """:func:`tiny_model` as an int8 checkpoint; its tokenizer is no tokenizer."""
    model = tiny_model(**changes)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    write_checkpoint(folder, model.config, quantize_state(weights), b"none")
    return load_checkpoint(folder)
