"""Longer contexts, and a Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.kv.redis_server import RedisServer
from tests.model.builders import tiny_checkpoint


@pytest.fixture(scope="session")
def long_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Room for long prompts in small windows."""
    return tiny_checkpoint(tmp_path_factory.mktemp("long"), max_positions=768)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.client.close()
    server.kill()
