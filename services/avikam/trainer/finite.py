"""Steps whose loss or gradient is not finite: left out, and a run of them ends the training."""

from __future__ import annotations

import math

_MOST_IN_A_ROW = 3


class FiniteGuard:
    """Counts the steps in a row that were not finite."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def passes(self, loss: float, norm: float) -> bool:
        """Whether the step may change the weights."""
        good = math.isfinite(loss) and math.isfinite(norm)
        self._in_a_row = 0 if good else self._in_a_row + 1
        return good

    @property
    def gives_up(self) -> bool:
        """Whether so many steps failed one after the other that going on helps nothing."""
        return self._in_a_row >= _MOST_IN_A_ROW
