"""The chart's own Redis: a real server takes the rendered configuration; ours can do all they need
with its password, and nobody can do more."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from avikam.common.worker_registry import announce, listed, withdraw
from avikam.engine.kv.keys import PrefixChain, root_key
from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
from avikam.gateway.limits.counters import SharedCounters
from avikam.gateway.shared_state.link import RedisLink
from tests.cluster.helm import Resource, named, pod_specs, render
from tests.tools import require_tool


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return render(values={"redis": {"mode": "internal", "internal": {"maxMemory": "64mb"}}})


@pytest.fixture(scope="module")
def secret(resources: list[Resource]) -> dict[str, str]:
    found: dict[str, str] = named(resources, "Secret", "avikam-redis")["stringData"]
    return found


@pytest.fixture(scope="module")
def port(
    resources: list[Resource],
    secret: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("redis")
    (folder / "auth.conf").write_text(secret["auth.conf"])
    (container,) = pod_specs(resources)["StatefulSet/avikam-redis"]["containers"]
    arguments = [a.removeprefix("/etc/redis/") for a in container["args"]]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = int(listener.getsockname()[1])
    command = [require_tool("redis-server"), *arguments, "--bind", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(free)], cwd=folder) as process:
        yield free
        process.terminate()


@pytest.fixture
def url(secret: dict[str, str], port: int) -> str:
    """The address that the pods are given, with this machine in the service's place."""
    address = secret["url"].replace("avikam-redis.avikam.svc:6379", f"127.0.0.1:{port}")
    wait_for(redis.Redis.from_url(address))
    return address


def wait_for(client: redis.Redis) -> None:
    for _ in range(100):
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.05)


def test_the_address_is_the_services(secret: dict[str, str]) -> None:
    assert urlsplit(secret["url"]).hostname == "avikam-redis.avikam.svc"


def test_workers_share_their_states(url: str) -> None:
    tier = RedisTier(RedisOptions(url, timeout=2.0))
    chain = PrefixChain(root_key("seal", "model"), list(range(512)), 256)
    assert tier.put(chain.key(256), chain.parent(256), 0, b"block")
    assert tier.longest(chain, 512, 0) == 256
    assert tier.get(chain.key(256)) == b"block"
    tier.delete(chain.key(256))
    assert tier.errors == 0


def test_gateways_count_and_workers_announce_themselves(url: str) -> None:
    async def use() -> None:
        link = RedisLink(url, 2.0)
        counters = SharedCounters(link)
        assert [(await counters.add("tenant", 1)).used for _ in range(2)] == [1, 2]
        assert link.up
        await announce(link.client, "10.0.0.1:50051", 10)
        assert await listed(link.client) == {"10.0.0.1:50051"}
        await withdraw(link.client, "10.0.0.1:50051")
        await link.client.aclose()

    asyncio.run(use())


@pytest.mark.parametrize(
    "command", ["CONFIG GET maxmemory", "FLUSHALL", "KEYS *", "MONITOR", "SHUTDOWN", "ACL LIST"]
)
def test_the_password_is_no_administrators(url: str, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis.from_url(url).execute_command(*command.split())  # type: ignore[no-untyped-call]


def test_nobody_enters_without_the_password(url: str, port: int) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port).ping()


def test_the_probe_needs_no_password(url: str, port: int) -> None:
    done = subprocess.run([require_tool("redis-cli"), "-p", str(port), "ping"], check=False)
    assert done.returncode == 0


def test_the_seal_and_the_address_are_files() -> None:
    pods = pod_specs(render(values={"redis": {"mode": "internal"}}))
    worker, gateway = (pods[f"Deployment/avikam-{n}"] for n in ("worker-main", "gateway"))
    seal = {"name": "AVIKAM_WORKER__KV_SECRET_FILE", "value": "/etc/avikam-redis/kv-secret"}
    assert seal in worker["containers"][0]["env"]
    theirs = {
        "name": "AVIKAM_GATEWAY__REDIS_SECRET_FILE",
        "value": "/etc/avikam-redis/gateway-secret",
    }
    assert theirs in gateway["containers"][0]["env"]
    assert [v["secret"]["items"] for v in gateway["volumes"] if v["name"] == "redis"] == [
        [
            {"key": "url", "path": "url"},
            {"key": "gateway-secret", "path": "gateway-secret"},
        ]
    ]
