"""Many streams as one: so many at once and no more, the first error ends all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest

from avikam.gateway.fan_out import merge


class Sources:
    """Streams that tell how many of them were taken, run and have been closed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = self.running = self.most = self.closed = 0

    def __iter__(self) -> Iterator[AsyncGenerator[int, None]]:
        for number in range(self.count):
            self.taken += 1
            yield self._stream(number)

    async def _stream(self, number: int) -> AsyncGenerator[int, None]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                yield number
            if number == 13:
                raise ValueError(number)
        finally:
            self.running -= 1
            self.closed += 1


async def test_every_item_comes_and_never_do_more_run_than_may() -> None:
    sources = Sources(10)

    items = [item async for item in merge(sources, 3)]

    assert sorted(items) == sorted(list(range(10)) * 3)
    assert (sources.most, sources.closed) == (3, 10)


async def test_a_source_is_taken_when_its_turn_has_come() -> None:
    sources = Sources(10_000)

    async with aclosing(merge(sources, 4)) as merged:
        await anext(merged)
        taken = sources.taken

    assert taken <= 8
    assert sources.running == 0


async def test_the_first_error_ends_everything() -> None:
    sources = Sources(100)

    with pytest.raises(ValueError, match="13"):
        [item async for item in merge(sources, 5)]

    assert sources.running == 0
    assert sources.taken < 100
