"""Many streams as one, each item as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# How far the sources may run ahead of a slow reader, in items.
_AHEAD = 16


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


async def merge(
    sources: Iterable[AsyncGenerator[T, None]], at_once: int
) -> AsyncGenerator[T, None]:
    """Items of all sources, ``at_once`` of which run. The first error ends everything.

    A source is taken when its turn has come: thousands of them cost nothing before.
    """
    news: asyncio.Queue[T | _End] = asyncio.Queue(_AHEAD)
    waiting = iter(sources)

    async def pump() -> None:
        end = _End()
        try:
            for source in waiting:
                async with aclosing(source):
                    async for item in source:
                        await news.put(item)
        except Exception as error:
            end = _End(error)
        await news.put(end)

    pumps = [asyncio.create_task(pump()) for _ in range(at_once)]
    try:
        running = len(pumps)
        while running:
            item = await news.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                running -= 1
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
