"""How much work an engine takes on: bounded by requests and by tokens, with a door for newcomers.

A tenant that holds nothing yet is let in even when others have filled the queue (up to twice its
size): whoever floods the queue shuts out nobody but himself. Deficit round robin then serves the
newcomer within a round.
"""

from __future__ import annotations

from collections import Counter

from avikam.engine.sequence import Sequence
from avikam.protocol.errors import ApiError, overloaded


class Admission:
    """Counts what was let in and has not ended. The caller locks."""

    def __init__(self, slots: int, queue_requests: int, queue_tokens: int) -> None:
        self.queue_requests = queue_requests
        self._most_requests = queue_requests + slots
        self._most_tokens = queue_tokens
        self._requests: Counter[str] = Counter()
        self.requests = 0
        self.tokens = 0

    @property
    def tenants(self) -> int:
        """How many hold something."""
        return len(self._requests)

    def check(self, sequence: Sequence) -> None:
        """Raise the 429 for a sequence that there is no room for."""
        problem = self._problem(sequence, stretch=1)
        newcomer = sequence.spec.tenant not in self._requests
        if problem and newcomer:
            problem = self._problem(sequence, stretch=2)
        if problem:
            raise problem

    def add(self, sequence: Sequence) -> None:
        """Count a sequence that may wait."""
        self._requests[sequence.spec.tenant] += 1
        self.requests += 1
        self.tokens += sequence.cost

    def remove(self, sequence: Sequence) -> None:
        """Take back what :meth:`add` counted."""
        tenant = sequence.spec.tenant
        self._requests[tenant] -= 1
        if not self._requests[tenant]:
            del self._requests[tenant]
        self.requests -= 1
        self.tokens -= sequence.cost

    def _problem(self, sequence: Sequence, stretch: int) -> ApiError | None:
        """What stands against it; an engine without work takes anything that fits its context."""
        if self.requests >= stretch * self._most_requests:
            return overloaded(f"the queue holds {self.queue_requests} requests already")
        if self.requests and self.tokens + sequence.cost > stretch * self._most_tokens:
            return overloaded(f"the queue holds {self.tokens} tokens of work already")
        return None
