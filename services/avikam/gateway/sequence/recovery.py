"""Who may try again, after what pause, and at whose expense; tenacity loops and sleeps.

Before the first token a failed sequence may be tried elsewhere; after it, a lost worker is replaced
by one that continues (a resume). What no worker has started moves on at once and for free. The loss
of a worker is not charged either, or one death of four would eat the budget; once more than half of
the pool is lost it is, except for resumes: they are bounded by what was running. Which kind of
failure is which says the table in :mod:`avikam.gateway.sequence.failure`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.resilience.window import Clock
from avikam.gateway.sequence.failure import Again, Failure, Meaning, When
from avikam.gateway.sequence.journal import Journal


@dataclass(frozen=True, slots=True)
class RecoveryRules:
    """How often and how fast. ``retries`` are charged ones, ``pause`` is in seconds."""

    retries: int = 3
    pause: float = 0.5
    jitter: float = 0.2
    resumes: int = 3
    journal_tokens: int = 8192
    # A fence around everything, free moves included.
    attempts: int = 16


class NextTry(Exception):  # noqa: N818 - not an error: it asks tenacity for another turn
    """The sequence is to be tried again, ``after`` so many seconds."""

    def __init__(self, after: float) -> None:
        super().__init__(after)
        self.after = after


def turns() -> AsyncRetrying:
    """Tries, one after another, as long as each ends with :class:`NextTry`."""
    return AsyncRetrying(
        retry=retry_if_exception_type(NextTry), wait=_pause_of, sleep=asyncio.sleep, reraise=True
    )


def _pause_of(state: RetryCallState) -> float:
    failed = state.outcome.exception() if state.outcome else None
    return failed.after if isinstance(failed, NextTry) else 0.0


class Recovery:
    """One per pool; what it knows of a sequence is in the journal."""

    def __init__(
        self,
        rules: RecoveryRules,
        budget: RetryBudget,
        half_died: Callable[[], bool],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._rules = rules
        self._budget = budget
        self._half_died = half_died
        self._clock = clock
        self._rng = rng

    def after(self, failure: Failure, journal: Journal, deadline: float) -> float | None:
        """Seconds until the next try, None when there is to be none. Asked once for each failure:
        what the try costs is taken at once."""
        meaning, begun = failure.meaning, bool(journal.tokens)
        pause = self._pause(meaning, begun)
        too_late = self._clock() + pause >= deadline
        if too_late or journal.attempt >= self._rules.attempts or meaning.again is Again.NO:
            return None
        if not (self._may_move(meaning, journal, begun) and self._pays(meaning, journal, begun)):
            return None
        return pause * self._rng.uniform(1 - self._rules.jitter, 1 + self._rules.jitter)

    def _pause(self, meaning: Meaning, begun: bool) -> float:
        """What failed at serving, or has no room for a continuation, needs time to get better."""
        waits = meaning.pause is When.ALWAYS or (meaning.pause is When.BEGUN and begun)
        return self._rules.pause if waits else 0.0

    def _may_move(self, meaning: Meaning, journal: Journal, begun: bool) -> bool:
        if begun:
            return not meaning.ran or self._may_resume(journal)
        if meaning.again is Again.YES:
            return True
        moved, journal.moved = journal.moved, True
        return not moved

    def _may_resume(self, journal: Journal) -> bool:
        journal.resumes += 1
        rules = self._rules
        return journal.resumes <= rules.resumes and len(journal.tokens) <= rules.journal_tokens

    def _pays(self, meaning: Meaning, journal: Journal, begun: bool) -> bool:
        """Charge the try where the table says so; whether there is enough left for it."""
        many_lost = meaning.charged is When.MANY_LOST and not begun and self._half_died()
        if not many_lost and meaning.charged is not When.ALWAYS:
            return True
        journal.retries += 1
        return journal.retries <= self._rules.retries and self._budget.take()
