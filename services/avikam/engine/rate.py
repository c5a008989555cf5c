"""Tokens per second over the last few seconds."""

from __future__ import annotations

from collections import deque


class TokenRate:
    """A sliding window of (time, tokens) steps."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._steps: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, tokens: int, now: float) -> None:
        """So many tokens came at ``now`` (seconds)."""
        self._steps.append((now, tokens))
        self._total += tokens
        self._forget(now)

    def per_second(self, now: float) -> float:
        """Tokens a second over the last seconds before ``now``."""
        self._forget(now)
        return self._total / self._seconds

    def _forget(self, now: float) -> None:
        while self._steps and self._steps[0][0] < now - self._seconds:
            self._total -= self._steps.popleft()[1]
