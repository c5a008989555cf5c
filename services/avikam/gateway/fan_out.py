"""Many streams as one, each item as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
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
    sources: Sequence[AsyncGenerator[T, None]], at_once: int
) -> AsyncGenerator[T, None]:
    """Items of all sources; at most ``at_once`` of them run. The first error ends everything."""
    news: asyncio.Queue[T | _End] = asyncio.Queue(_AHEAD)
    gate = asyncio.Semaphore(at_once)

    async def pump(source: AsyncGenerator[T, None]) -> None:
        end = _End()
        try:
            async with gate, aclosing(source):
                async for item in source:
                    await news.put(item)
        except Exception as error:
            end = _End(error)
        await news.put(end)

    pumps = [asyncio.create_task(pump(source)) for source in sources]
    try:
        open_sources = len(pumps)
        while open_sources:
            item = await news.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                open_sources -= 1
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
