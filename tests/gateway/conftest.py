"""One gateway for all tests of a file that only ask it things."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.gateway.harness import RunningGateway, serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    """A gateway and its one worker, as they are without further settings."""
    async with serving() as started:
        yield started
