"""Requests that run at once, by account, in this process."""

from __future__ import annotations

from collections import Counter


class Places:
    """As many entries as accounts have requests running."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, account: str, most: int) -> bool:
        """Take one of ``most`` places; False when there is none."""
        if self._taken[account] >= most:
            return False
        self._taken[account] += 1
        return True

    def give_back(self, account: str) -> None:
        """Free a place."""
        self._taken[account] -= 1
        if not self._taken[account]:
            del self._taken[account]
