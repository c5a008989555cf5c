"""The chart's own Redis: a real server takes the rendered configuration and its password."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.cluster.helm import Resource, named, render
from tests.tools import require_tool


@pytest.fixture(scope="module")
def secret() -> dict[str, str]:
    resources: list[Resource] = render(values={"redis": {"mode": "internal"}})
    found: dict[str, str] = named(resources, "Secret", "avikam-redis")["stringData"]
    return found


@pytest.fixture(scope="module")
def port(secret: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("redis")
    (folder / "redis.conf").write_text(secret["redis.conf"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = int(listener.getsockname()[1])
    command = [require_tool("redis-server"), "redis.conf", "--bind", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(free)], cwd=folder) as process:
        yield free
        process.terminate()


def connected(port: int, password: str | None) -> redis.Redis:
    client = redis.Redis(port=port, password=password)
    for _ in range(100):
        try:
            client.ping()
            break
        except redis.AuthenticationError:
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    return client


def test_the_workers_address_opens_it(secret: dict[str, str], port: int) -> None:
    address = urlsplit(secret["url"])
    assert address.hostname == "avikam-redis.avikam.svc"
    client = connected(port, address.password)
    assert client.ping()
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_nobody_enters_without_the_password(port: int) -> None:
    with pytest.raises(redis.AuthenticationError):
        connected(port, None).ping()
