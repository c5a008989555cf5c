"""Who may try again, after what pause, and at whose expense; tenacity runs it.

Before the first token a failed request may be retried; after it, a lost worker is replaced by one
that continues (a resume). What no worker has started moves on at once and for free. The death of a
worker is not charged either, or one death of four would eat the budget; once more than half of the
pool died it is, except for resumes: they are bounded by what was running.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.workers.failures import AttemptError, Kind
from avikam.gateway.workers.worker import Clock


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Numbers of the policy."""

    retries: int = 3
    pause: float = 0.5
    jitter: float = 0.2
    resumes: int = 3
    journal_tokens: int = 8192
    # A fence around everything, free moves included.
    attempts: int = 16


class RetryPolicy:
    """One per pool; what it knows of a request is in that request's journal."""

    def __init__(
        self,
        rules: RetryRules,
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

    def retrying(self, journal: Journal, deadline: float) -> AsyncRetrying:
        """Runs a function until it opens an attempt, or re-raises the failure that ends it."""

        def allows(error: BaseException) -> bool:
            return isinstance(error, AttemptError) and self._allows(error, journal, deadline)

        return AsyncRetrying(
            retry=retry_if_exception(allows),
            wait=lambda state: self._wait(state, journal),
            stop=stop_after_attempt(self._rules.attempts),
            sleep=asyncio.sleep,
            reraise=True,
        )

    def _allows(self, failure: AttemptError, journal: Journal, deadline: float) -> bool:
        if self._clock() + self._pause_after(failure, journal) >= deadline:
            return False
        match failure.kind:
            case Kind.REFUSED | Kind.UNSUPPORTED:
                return True
            case Kind.FULL:
                journal.full_workers += 1
                return bool(journal.tokens) or journal.full_workers <= 1
            case _ if journal.tokens:
                return self._may_resume(failure, journal)
            case _:
                charged = failure.kind is Kind.UNWELL or self._half_died()
                return self._charge(journal) if charged else True

    def _may_resume(self, failure: AttemptError, journal: Journal) -> bool:
        journal.resumes += 1
        if journal.resumes > self._rules.resumes:
            return False
        if len(journal.tokens) > self._rules.journal_tokens:
            return False
        return failure.kind is Kind.LOST or self._charge(journal)

    def _charge(self, journal: Journal) -> bool:
        journal.retries += 1
        return journal.retries <= self._rules.retries and self._budget.take()

    def _pause_after(self, failure: AttemptError, journal: Journal) -> float:
        """What failed at serving, or has no room for a continuation, needs time to get better."""
        waits = failure.kind is Kind.UNWELL or (failure.kind is Kind.FULL and journal.tokens)
        return self._rules.pause if waits else 0.0

    def _wait(self, state: RetryCallState, journal: Journal) -> float:
        failure = state.outcome.exception() if state.outcome else None
        if not isinstance(failure, AttemptError):
            return 0.0
        jitter = self._rules.jitter
        return self._pause_after(failure, journal) * self._rng.uniform(1 - jitter, 1 + jitter)
