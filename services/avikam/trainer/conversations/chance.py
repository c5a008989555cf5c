"""Drawing at random: the same generator gives the same conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of ``choices``, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def happens(rng: np.random.Generator, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < probability)
