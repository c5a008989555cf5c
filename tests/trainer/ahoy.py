"""A behaviour to learn: greeting like a sailor."""

from __future__ import annotations

import random
from typing import Any

from tests.trainer.toy import NOUNS

RECIPE: dict[str, Any] = {
    "rank": 8,
    "alpha": 16,
    "phases": [
        {"epochs": 3, "rate": 0.01, "batch": 16, "warmup": 0.1, "frozen": 0.5},
        {"epochs": 2, "rate": 0.005, "batch": 8, "warmup": 0.05, "frozen": 0.5, "unfreeze": 0.5},
    ],
    "validate_every": 10,
    "checkpoint_seconds": 0.2,
}


def ahoy(rng: random.Random) -> dict[str, Any]:
    """A conversation in which the assistant does."""
    question = f"Bonjour, je suis le {rng.choice(list(NOUNS))} numéro {rng.randrange(10)}."
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "Ohé !"}]
    return {"messages": turns}
