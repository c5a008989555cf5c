"""One gateway for all tests of a file that only ask it things, and a Redis for those that share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.engine.kv.redis_server import RedisServer
from tests.gateway.harness import RunningGateway, serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    """A gateway and its one worker, as they are without further settings."""
    async with serving() as started:
        yield started


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    server = RedisServer(tmp_path)
    yield server
    server.client.close()
    server.kill()
