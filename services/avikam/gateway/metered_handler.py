"""A generation's tokens, debited from its account before it runs and settled when it has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from avikam.gateway.generation import Generation, cost
from avikam.gateway.handler import Handler, News
from avikam.gateway.sequence.journal import Journal


class MeteredHandler:
    """The handler of all doors; generations without an allowance pass as they are."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def collect(self, generation: Generation) -> list[Journal]:
        """Run to the end; the journals are the answers."""
        if generation.allowance is None:
            return await self._handler.collect(generation)
        async with aclosing(self.frames(generation)) as news:
            async for _ in news:
                pass
        return generation.journals

    def frames(self, generation: Generation) -> AsyncGenerator[News, None]:
        """What happens to every answer, as it happens. Raises ApiError."""
        if generation.allowance is None:
            return self._handler.frames(generation)
        return self._metered(generation)

    async def _metered(self, generation: Generation) -> AsyncGenerator[News, None]:
        allowance = generation.allowance
        if allowance is None:
            raise RuntimeError("a generation without an allowance is not metered")
        await allowance.debit(estimate(generation))
        try:
            async with aclosing(self._handler.frames(generation)) as news:
                async for item in news:
                    yield item
        finally:
            await allowance.settle(_taken(generation))


def estimate(generation: Generation) -> int:
    """Tokens that a request will probably take."""
    request = generation.request
    return request.n * sum(cost(prompt, request.sampling) for prompt in request.prompts)


def _taken(generation: Generation) -> int:
    """Prompts, each once, and everything generated."""
    journals = generation.journals
    prompts = (j.accepted.prompt_tokens for j in journals if j.choice == 0 and j.accepted)
    return sum(prompts) + sum(journal.count for journal in journals)
