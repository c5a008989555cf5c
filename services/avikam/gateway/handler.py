"""The life of a request, on one page.

parse, validate            the API's door: http/ and api/, or grpc_service
  └► breaker               503 while the pool recovers
      └► model             404 for a name nobody serves; waits for a first worker
          └► budget        400 for what can never fit, 503 while there is no room for it
              └► sequences     every prompt n times, each with its journal, made as they run
                  └► run       admit, route, attempt, recover: sequence/run
                      └► frames, in the order they come, for the API to encode
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from avikam.gateway.beside import beside
from avikam.gateway.budget.lengths import check_lengths
from avikam.gateway.budget.price import price, told
from avikam.gateway.errors import circuit_open
from avikam.gateway.fan_out import merge
from avikam.gateway.generation import Generation, sequences
from avikam.gateway.resilience.breaker import Breaker, Ticket
from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.sequence.failure import Failure
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.run import Batch, News, Run, Surroundings
from avikam.gateway.workers.catalog import Catalog
from avikam.protocol.errors import ApiError, renamed

__all__ = ["Handler", "News"]


class Handler:
    """Serves generations of every door."""

    def __init__(
        self,
        catalog: Catalog,
        surroundings: Surroundings,
        breaker: Breaker,
        budget: RetryBudget,
        rng: random.Random,
        batch_concurrency: int,
    ) -> None:
        self._catalog = catalog
        self._surroundings = surroundings
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
            async with aclosing(self._news(generation, await self._route(generation))) as news:
                async for journal, frame in news:
                    if not begun and frame.token_ids:
                        # A stream is a success from its first token on, and only once: counted
                        # again at its end, it would hide failures among twice as many outcomes.
                        begun = True
                        self._breaker.record(ticket, True)
                    yield journal, frame
                    if journal.finish is not None:
                        self._close(generation, journal)
            outcome = None if begun else True
        except ApiError as error:
            # Of the request, or of a queue that is full: of the pool it says nothing.
            raise renamed(error, generation.request.names) from None
        except Failure as failure:
            outcome = False if failure.meaning.pool else None
            raise renamed(failure.error, generation.request.names) from None
        finally:
            self._settle(ticket, outcome)

    async def _route(self, generation: Generation) -> Iterator[Run]:
        """Find the model, and see what the request will cost; its sequences are made as they run.

        Raises ApiError.
        """
        asked = generation.request
        model, adapter = await self._catalog.resolve(asked.model, generation.deadline)
        generation.model = adapter or model
        generation.fingerprint = self._catalog.fingerprint(model)
        context = self._catalog.context(model)
        await beside(generation.size, lambda: check_lengths(asked, context))
        generation.grow(price(asked, generation.streamed, context, self._batch_concurrency))
        return self._runs(generation, model, adapter)

    def _runs(self, generation: Generation, model: str, adapter: str) -> Iterator[Run]:
        batch = Batch()
        for journal, target in sequences(generation, model, adapter, self._rng):
            generation.journals.append(journal)
            yield Run(
                self._surroundings,
                journal,
                target,
                generation.tenant,
                generation.deadline,
                batch,
                generation.trace,
            )

    def _news(self, generation: Generation, runs: Iterator[Run]) -> AsyncGenerator[News, None]:
        count = generation.request.n * len(generation.request.prompts)
        if count == 1:
            return next(runs).news()
        return merge((run.news() for run in runs), min(count, self._batch_concurrency))

    def _close(self, generation: Generation, journal: Journal) -> None:
        """One of many answers has ended: what nobody needs any more is forgotten, and what is kept
        until all have ended is paid for. Raises a 503 or a 413."""
        if generation.request.n == 1 and len(generation.request.prompts) == 1:
            return
        journal.close(told=generation.streamed)
        if not generation.streamed:
            generation.grow(told(generation.request, len(journal.tokens)))

    def _settle(self, ticket: Ticket, outcome: bool | None) -> None:
        if outcome is None:
            self._breaker.release(ticket)
        else:
            self._breaker.record(ticket, outcome)
