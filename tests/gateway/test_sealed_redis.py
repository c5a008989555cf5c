"""What gateways keep in Redis: who writes there does not speak for them, who reads learns nothing.

The accounts below are those of docs/operations/redis.md.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from avikam.engine.kv.keys import PrefixChain, root_key
from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.shared_state.seal import Seal
from tests.engine.kv.redis_server import RedisServer
from tests.gateway.doors import door
from tests.gateway.harness import gateway_to
from tests.worker.harness import eventually, running_worker

SECRET = "the secret of the gateways"
KEY = {"idempotency-key": "order-66"}
PATIENT: dict[str, Any] = {"redis_timeout_seconds": 5.0}
PAGE = Path(__file__).parents[2] / "docs" / "operations" / "redis.md"


def test_a_seal_opens_what_it_closed_and_nothing_else() -> None:
    seal = Seal(SECRET)
    sealed = seal.close(b"an answer", "here")

    assert seal.open(sealed, "here") == b"an answer"
    assert seal.open(sealed, "there") is None
    assert Seal("another secret of gateways").open(sealed, "here") is None
    for cut in range(len(sealed)):
        assert seal.open(sealed[:cut], "here") is None
        changed = bytearray(sealed)
        changed[cut] ^= 1
        assert seal.open(bytes(changed), "here") is None
    assert seal.close(b"an answer", "here") != sealed, "no two look alike"


def forged(body: bytes, fingerprint: bytes) -> bytes:
    """An answer in the form that it had before it was sealed."""
    head = b'H[200,[["content-type","text/html"],["set-cookie","a=b"]]]'
    parts = [head, b"E" + body]
    return b"D" + fingerprint + b"".join(struct.pack(">I", len(part)) + part for part in parts)


FORGERIES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "in clear": lambda value, other: forged(b"<script>", bytes(32)),
    "cut": lambda value, other: value[:-1],
    "changed": lambda value, other: value[:40] + bytes([value[40] ^ 1]) + value[41:],
    "empty": lambda value, other: b"",
    "of another name": lambda value, other: other,
    "of another secret": lambda value, other: Seal("a stranger's own secret").close(
        forged(b"<script>", bytes(32)), "x"
    ),
    "of another kind": lambda value, other: b"\x01" * 100,
}


@pytest.mark.parametrize("kind", ["json", "protobuf", "grpc"])
@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_record_that_was_forged_is_a_miss(
    redis_server: RedisServer, kind: str, forgery: Callable[[bytes, bytes], bytes]
) -> None:
    shared = {"redis": redis_server.url, "redis_secret": SECRET, "grpc_port": 0, **PATIENT}
    async with (
        running_worker() as worker,
        gateway_to(worker, **shared) as here,
        gateway_to(worker, **shared) as there,
        door(kind, here) as ask_here,
        door(kind, there) as ask_there,
    ):
        first = await ask_here(**KEY)
        (name,) = redis_server.client.scan_iter("*idempotency*")
        await ask_here(**{"idempotency-key": "order-67"})
        (second,) = {*redis_server.client.scan_iter("*idempotency*")} - {name}
        value, other = redis_server.client.get(name), redis_server.client.get(second)
        assert isinstance(value, bytes)
        assert isinstance(other, bytes)
        redis_server.client.set(name, forgery(value, other), px=60_000)

        again = await ask_there(**KEY)

        assert (again.status, again.text) == (200, first.text)
        assert "set-cookie" not in again.headers
        assert "idempotent-replayed" not in again.headers


async def test_neither_answers_nor_tenants_are_read_from_redis(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    secret, path = new_secret("alice"), tmp_path / "keys.yaml"
    write_keys(path, [Key(id="alice", sha256=digest(secret), tenant="acme-corporation")])
    limits = {"requests_per_minute": 100, "tokens_per_minute": 10_000}
    shared = {"redis": redis_server.url, "redis_secret": SECRET, **PATIENT, **limits}
    async with running_worker() as worker, gateway_to(worker, keys=path, **shared) as gateway:
        headers = {"authorization": f"Bearer {secret}", **KEY}
        body = {"prompt": "Bonjour", "max_tokens": 30, "seed": 1}
        reply = await gateway.client.post("/generate", json=body, headers=headers)
        assert reply.status_code == 200

    names = list(redis_server.client.scan_iter())
    values = [redis_server.client.dump(name) for name in names]
    seen = b" ".join([*names, *(value for value in values if isinstance(value, bytes))])
    assert len(names) >= 3
    for word in ("acme-corporation", "alice", "order-66", reply.json()["text"][:12]):
        assert word.encode() not in seen


async def test_without_a_secret_no_answer_leaves_its_gateway(redis_server: RedisServer) -> None:
    async with (
        running_worker() as worker,
        gateway_to(worker, redis=redis_server.url, **PATIENT) as gateway,
        door("json", gateway) as knock,
    ):
        assert (await knock(**KEY)).status == 200
        assert (await knock(**KEY)).headers["idempotent-replayed"] == "true"

    assert not list(redis_server.client.scan_iter("*idempotency*"))


def accounts() -> dict[str, list[str]]:
    """What the page says that each account may do."""
    lines = re.findall(r"^ACL SETUSER (\w+) (.*)$", PAGE.read_text(), re.MULTILINE)
    return {name: rights.split() for name, rights in lines}


async def test_accounts_of_gateways_and_workers_do_what_they_must_and_no_more(
    redis_server: RedisServer,
) -> None:
    for name, rights in accounts().items():
        told = [right.replace("PASSWORD", name) for right in rights]
        redis_server.client.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", name, *told
        )
    address = urlsplit(redis_server.url).netloc
    urls = {name: f"redis://{name}:{name}@{address}/0" for name in ("gateway", "worker")}
    limits = {"requests_per_minute": 100, "tokens_per_minute": 10_000}
    shared = {"redis": urls["gateway"], "redis_secret": SECRET, **PATIENT, **limits}
    async with (
        running_worker(registry=urls["worker"]) as worker,
        gateway_to(worker, **shared, workers=("registry",), discovery_seconds=0.2) as gateway,
        door("json", gateway) as knock,
    ):
        first = await knock(**KEY)
        assert (first.status, (await knock(**KEY)).text) == (200, first.text)
        gateway.server.gateway.breaker.trip()
        await eventually(lambda: bool(list(redis_server.client.scan_iter("*breaker*"))))
        assert gateway.metric("redis_degraded") == 0

    tier = RedisTier(RedisOptions(urls["worker"], timeout=5.0))
    chain = PrefixChain(root_key("seal", "model"), list(range(512)), 256)
    assert tier.put(chain.key(256), chain.parent(256), 0, b"block")
    assert tier.longest(chain, 512, 0) == 256
    assert tier.get(chain.key(256)) == b"block"
    tier.delete(chain.key(256))
    assert tier.errors == 0

    (record,) = redis_server.client.scan_iter("*idempotency*")
    stranger = redis.Redis.from_url(urls["worker"])
    for command in (
        ("GET", record),
        ("SET", record, b"forged"),
        ("SET", "avikam:gateway:limits:x", b"1"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            stranger.execute_command(*command)  # type: ignore[no-untyped-call]
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis.from_url(urls["gateway"]).zadd("avikam:workers", {"10.0.0.1:1": 9e9})
