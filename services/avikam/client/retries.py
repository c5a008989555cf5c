"""Who may be asked again, and when; tenacity runs it.

Asked again is what no token has come of: a connection that failed, 429, 502 and 503. The pause is
the gateway's ``Retry-After`` where it named one, else 0.5 s doubling, give or take 20 %. Every try
carries the same ``Idempotency-Key``. A stream that has begun is never asked for again: the gateway
resumes it, or says that it cannot.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from avikam.client.errors import AvikamError, ConnectionFailed, RateLimited, Unavailable

IDEMPOTENCY_HEADER = "idempotency-key"


@dataclass(frozen=True, slots=True)
class Retries:
    """``retries`` after the first try; pauses in seconds. ``Retries(0)`` never asks again."""

    retries: int = 3
    pause: float = 0.5
    jitter: float = 0.2
    # A gateway that asks for more patience than this has given its answer.
    longest_pause: float = 30.0

    def blocking(self) -> Retrying:
        """For blocking callers."""
        return Retrying(
            retry=retry_if_exception(self._allows),
            wait=self._wait,
            stop=stop_after_attempt(self.retries + 1),
            reraise=True,
        )

    def asynchronous(self) -> AsyncRetrying:
        """For asyncio."""
        return AsyncRetrying(
            retry=retry_if_exception(self._allows),
            wait=self._wait,
            stop=stop_after_attempt(self.retries + 1),
            reraise=True,
        )

    def _allows(self, error: BaseException) -> bool:
        if not isinstance(error, ConnectionFailed | RateLimited | Unavailable):
            return False
        return (error.retry_after or 0.0) <= self.longest_pause

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        jitter = random.uniform(1 - self.jitter, 1 + self.jitter)
        if isinstance(error, AvikamError) and error.retry_after is not None:
            # Never earlier than asked for.
            return error.retry_after * max(jitter, 1.0)
        pause = self.pause * 2.0 ** (state.attempt_number - 1) * jitter
        return float(min(pause, self.longest_pause))


def new_idempotency_key() -> str:
    """Names one request over all its tries."""
    return secrets.token_hex(16)
