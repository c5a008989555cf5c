"""Adaptive dropout: more when validation perplexity rises, less while it falls."""

from __future__ import annotations

from dataclasses import dataclass

STEP = 0.02
LARGEST = 0.3
TOLERANCE = 0.002
"""A relative change of perplexity below this is noise and changes nothing."""


@dataclass(slots=True)
class AdaptiveDropout:
    """The rate to use, steered after each validation."""

    rate: float
    best: float = float("inf")

    def observe(self, perplexity: float) -> float:
        """The rate after a validation that measured ``perplexity``."""
        if perplexity > self.best * (1 + TOLERANCE):
            self.rate = min(LARGEST, self.rate + STEP)
        elif perplexity < self.best * (1 - TOLERANCE):
            self.rate = max(0.0, self.rate - STEP / 2)
        self.best = min(self.best, perplexity)
        return self.rate
