"""The life of a request, on one page.

parse, validate            the API's door: http/ and api/, or grpc_service
  └► breaker               503 while the pool recovers
      └► model             404 for a name nobody serves; waits for a first worker
          └► sequences     every prompt n times, each with its journal
              └► runner    admit, route, attempt, recover: sequence_runner
                  └► frames, in the order they come, for the API to encode
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from avikam.gateway.beside import beside
from avikam.gateway.errors import circuit_open, is_of_the_request
from avikam.gateway.fan_out import merge
from avikam.gateway.generation import Generation, sequences
from avikam.gateway.resilience.breaker import Breaker, Ticket
from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.runner import Batch, News, Run, SequenceRunner
from avikam.gateway.workers.catalog import Catalog
from avikam.protocol.errors import ApiError

__all__ = ["Handler", "News"]

# What preparing a sequence is compared to, among the bodies that are worth a thread.
_SEQUENCE_BYTES = 1024


class Handler:
    """Serves generations of every door."""

    def __init__(
        self,
        catalog: Catalog,
        runner: SequenceRunner,
        breaker: Breaker,
        budget: RetryBudget,
        rng: random.Random,
        batch_concurrency: int,
    ) -> None:
        self._catalog = catalog
        self._runner = runner
        self._breaker = breaker
        self._budget = budget
        self._rng = rng
        self._batch_concurrency = batch_concurrency

    async def collect(self, generation: Generation) -> list[Journal]:
        """Run to the end; the journals are the answers."""
        async with aclosing(self.frames(generation)) as news:
            async for _ in news:
                pass
        return generation.journals

    async def frames(self, generation: Generation) -> AsyncGenerator[News, None]:
        """What happens to every answer, as it happens. Raises ApiError."""
        if generation.trace is not None:
            generation.trace.generation = generation
        ticket = self._breaker.enter()
        if ticket is None:
            raise circuit_open(self._breaker.retry_after())
        self._budget.count_request()
        outcome: bool | None = None
        begun = False
        try:
            async with aclosing(self._news(await self._route(generation))) as news:
                async for journal, frame in news:
                    if not begun and frame.token_ids:
                        # A stream is a success from its first token on, and only once: counted
                        # again at its end, it would hide failures among twice as many outcomes.
                        begun = True
                        self._breaker.record(ticket, True)
                    yield journal, frame
            outcome = None if begun else True
        except ApiError as error:
            outcome = False if _is_ours(error, generation) else None
            raise
        except GeneratorExit:
            outcome = None
            raise
        finally:
            self._settle(ticket, outcome)

    async def _route(self, generation: Generation) -> list[Run]:
        """Find the model and split the request into sequences."""
        named = generation.request.model
        model, adapter = await self._catalog.resolve(named, generation.deadline)
        generation.model = adapter or model
        generation.fingerprint = self._catalog.fingerprint(model)
        size = _SEQUENCE_BYTES * generation.request.n * len(generation.request.prompts)
        runs = await beside(size, lambda: self._runs(generation, model, adapter))
        generation.journals = [run.journal for run in runs]
        return runs

    def _runs(self, generation: Generation, model: str, adapter: str) -> list[Run]:
        batch = Batch()
        return [
            Run(journal, target, generation.tenant, generation.deadline, batch, generation.trace)
            for journal, target in sequences(generation, model, adapter, self._rng)
        ]

    def _news(self, runs: list[Run]) -> AsyncGenerator[News, None]:
        if len(runs) == 1:
            return self._runner.news(runs[0])
        return merge(map(self._runner.news, runs), min(len(runs), self._batch_concurrency))

    def _settle(self, ticket: Ticket, outcome: bool | None) -> None:
        if outcome is None:
            self._breaker.release(ticket)
        else:
            self._breaker.record(ticket, outcome)


def _is_ours(error: ApiError, generation: Generation) -> bool:
    """Whether an error speaks against the pool; a deadline the client chose does not."""
    if is_of_the_request(error):
        return False
    return error.status in (500, 502) or (error.status == 504 and not generation.own_deadline)
