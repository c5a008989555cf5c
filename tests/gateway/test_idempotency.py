"""One Idempotency-Key, one answer: stored or still running, through every door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.idempotency import answers as module
from avikam.gateway.idempotency.answers import Add, Answers, Twice
from avikam.gateway.shared_state.seal import Seal
from tests.engine.kv.redis_server import RedisServer
from tests.gateway.doors import Answer, door
from tests.gateway.harness import RunningGateway, gateway_to, serving
from tests.worker.harness import eventually, running_worker

DOORS = ("json", "protobuf", "grpc")
KEY = {"idempotency-key": "order-66"}
# Patient enough for a busy machine; the default is 50 ms.
PATIENT: dict[str, Any] = {
    "redis_timeout_seconds": 5.0,
    "redis_secret": "the secret of the gateways",
}


def generated(gateway: RunningGateway) -> float:
    """Tokens that workers made so far."""
    return gateway.metric("generated_tokens_total")


@pytest.mark.parametrize("kind", DOORS)
async def test_the_same_again_is_the_stored_answer(kind: str) -> None:
    async with serving(grpc_port=0) as gateway, door(kind, gateway) as knock:
        first = await knock(max_tokens=9, **KEY)
        again = await knock(max_tokens=9, **KEY)
        other = await knock(max_tokens=9, **{"idempotency-key": "order-67"})

        assert first.text == again.text == other.text
        assert generated(gateway) == 18
    if kind != "grpc":
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]


@pytest.mark.parametrize("kind", DOORS)
async def test_who_asks_while_it_runs_gets_the_same_answer(kind: str) -> None:
    async with (
        serving(plan="tpot=20ms", grpc_port=0) as gateway,
        door(kind, gateway) as knock,
    ):
        running = [asyncio.create_task(knock(max_tokens=12, **KEY)) for _ in range(5)]
        texts = {(await answer).text for answer in running}

        assert len(texts) == 1
        assert generated(gateway) == 12


@pytest.mark.parametrize("kind", DOORS)
async def test_another_request_under_the_key_is_a_conflict(kind: str) -> None:
    async with serving(grpc_port=0) as gateway, door(kind, gateway) as knock:
        await knock(prompt="Bonjour", **KEY)
        conflict = await knock(prompt="Bonsoir", **KEY)

    assert (conflict.status, conflict.code) == (409, "idempotency_conflict")


@pytest.mark.parametrize("kind", DOORS)
async def test_a_key_must_be_short(kind: str) -> None:
    async with serving(grpc_port=0) as gateway, door(kind, gateway) as knock:
        refused = [await knock(**{"idempotency-key": key}) for key in ("", "k" * 256)]

    assert {(answer.status, answer.code) for answer in refused} == {(400, "invalid_value")}


async def test_a_key_must_be_printable() -> None:
    async with serving() as gateway:
        for key in ("clé".encode(), b"a\tb"):
            headers = {b"idempotency-key": key}
            refused = await gateway.client.post("/generate", json={"prompt": "a"}, headers=headers)
            assert refused.json()["error"]["param"] == "idempotency-key"


async def test_a_stream_is_repeated_event_for_event() -> None:
    async with serving() as gateway:
        body = {"prompt": "Bonjour", "max_tokens": 20, "stream": True}
        replies = [
            (await gateway.client.post("/v1/completions", json=body, headers=KEY)).text
            for _ in range(2)
        ]

        assert replies[0] == replies[1]
        assert replies[0].endswith("data: [DONE]\n\n")
        assert generated(gateway) == 20


async def test_a_client_that_lost_its_stream_finds_it_again() -> None:
    async with serving(plan="tpot=10ms") as gateway:
        body = {"prompt": "Bonjour", "max_tokens": 30, "stream": True, "seed": 3}
        async with gateway.client.stream("POST", "/generate", json=body, headers=KEY) as response:
            await anext(response.aiter_lines())
        again = await gateway.client.post("/generate", json=body, headers=KEY)

        assert again.headers["idempotent-replayed"] == "true"
        assert again.text.endswith("data: [DONE]\n\n")
        assert generated(gateway) == 30


async def test_nobody_computes_for_a_client_that_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ABANDONED_SECONDS", 0.05)
    async with serving(plan="hang@5") as gateway:
        body = {"prompt": "Bonjour", "max_tokens": 30, "stream": True}
        async with gateway.client.stream("POST", "/generate", json=body, headers=KEY) as response:
            await anext(response.aiter_lines())
        await gateway.idle()
        await eventually(lambda: len(gateway.server.gateway.answers) == 0)


@pytest.mark.parametrize("kind", DOORS)
async def test_what_failed_is_tried_again(kind: str) -> None:
    async with (
        serving(plan="error#1", grpc_port=0, retries=0) as gateway,
        door(kind, gateway) as knock,
    ):
        failed = await knock(**KEY)
        again = await knock(**KEY)

    assert failed.status == 502
    assert again.status == 200


async def test_an_answer_that_broke_off_is_not_kept() -> None:
    async with serving(plan="drop@9#1", resumes=0) as gateway:
        body = {"prompt": "Bonjour", "max_tokens": 20, "stream": True}
        broken = await gateway.client.post("/generate", json=body, headers=KEY)
        again = await gateway.client.post("/generate", json=body, headers=KEY)

    assert "stream_interrupted" in broken.text
    assert again.text.endswith("data: [DONE]\n\n")


async def test_tenants_do_not_share_keys(tmp_path: Path) -> None:
    secrets = {name: new_secret(name) for name in ("alice", "bob")}
    keys = [Key(id=n, sha256=digest(s), tenant=f"of-{n}") for n, s in secrets.items()]
    write_keys(tmp_path / "keys.yaml", keys)
    async with serving(keys=tmp_path / "keys.yaml") as gateway, door("json", gateway) as knock:
        answers = [
            await knock(prompt=name, authorization=f"Bearer {secret}", **KEY)
            for name, secret in secrets.items()
        ]

        assert [answer.status for answer in answers] == [200, 200]
        assert generated(gateway) == 8


@dataclass
class Work:
    """What an answer costs while it is made."""

    outlives: int = 0
    size: int = 0

    def outlive_call(self) -> Callable[[], None]:
        self.outlives += 1
        return self.end

    def end(self) -> None:
        self.outlives -= 1

    def grow(self, size: int) -> None:
        self.size += size


async def add_three(add: Add) -> bool:
    for part in (b"a" * 40, b"b" * 40, b"c" * 20):
        await add(part)
    return True


async def test_an_answer_grows_no_faster_than_it_is_read() -> None:
    answers = Answers(600.0, 2**26, lambda: 0.0, None)
    work, parts = Work(), 200

    async def much(add: Add) -> bool:
        for _ in range(parts):
            await add(b"x" * 16_384)
        return True

    twice = Twice("acme", "a", b"1")
    record, _ = answers.open(twice, much, work)
    reading = answers.follow(twice, record)
    await anext(reading)
    for _ in range(1000):
        await asyncio.sleep(0)
    unread = record.size
    rest = [part async for part in reading]
    await eventually(lambda: not answers._tasks)

    assert unread < 300_000
    assert len(rest) == parts - 1
    assert work.size == parts * 16_384
    assert not work.outlives


async def test_work_keeps_its_place_when_its_client_has_left() -> None:
    body = {"prompt": "Bonjour", "max_tokens": 30, "stream": True}
    async with serving(plan="hang@5", concurrent_requests=1) as gateway:
        async with gateway.client.stream("POST", "/generate", json=body, headers=KEY) as response:
            await anext(response.aiter_lines())
        other = await gateway.client.post("/generate", json=body, headers={"idempotency-key": "b"})
        plain = await gateway.client.post("/generate", json=body)
        used = gateway.worker.engine.stats().slots_used

    for refused in (other, plain):
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
    assert used == 1


async def test_a_place_comes_free_when_the_work_is_done() -> None:
    async with serving(concurrent_requests=1) as gateway, door("json", gateway) as knock:
        statuses = [(await knock(**{"idempotency-key": f"k{n}"})).status for n in range(5)]

    assert statuses == [200] * 5


async def test_what_is_kept_is_bounded_in_bytes_and_time() -> None:
    now = 0.0
    answers = Answers(600.0, 250, lambda: now, None)
    for name in "vwxyz":
        twice = Twice("acme", name, b"1")
        record, _ = answers.open(twice, add_three, Work())
        assert b"".join([part async for part in answers.follow(twice, record)])[:1] == b"a"
        await eventually(lambda: not answers._tasks)
    kept = [
        name for name in "vwxyz" if answers.open(Twice("acme", name, b"1"), add_three, Work())[1]
    ]
    await eventually(lambda: not answers._tasks)
    now = 601.0
    replayed = answers.open(Twice("acme", "z", b"1"), add_three, Work())[1]
    await eventually(lambda: not answers._tasks)

    assert kept == ["y", "z"]
    assert not replayed


async def test_gateways_share_answers_and_wait_for_each_other(redis_server: RedisServer) -> None:
    shared = {"redis": redis_server.url, **PATIENT}
    async with (
        running_worker(plan="tpot=20ms") as worker,
        gateway_to(worker, **shared) as here,
        gateway_to(worker, **shared) as there,
        door("json", here) as ask_here,
        door("json", there) as ask_there,
    ):
        running = asyncio.create_task(ask_here(max_tokens=12, **KEY))
        await eventually(lambda: generated(here) > 0)
        waited: Answer = await ask_there(max_tokens=12, **KEY)
        conflict = await ask_there(prompt="Bonsoir", **{"idempotency-key": "order-66"})
        first = await running

        assert waited.text == first.text
        assert waited.status == 200
        assert conflict.status == 409
        assert generated(here) + generated(there) == 12


async def test_a_gateway_that_died_with_its_answer_is_replaced(redis_server: RedisServer) -> None:
    shared = {"redis": redis_server.url, **PATIENT}
    async with serving(**shared) as gateway, door("json", gateway) as knock:
        await knock(**KEY)
        (name,) = redis_server.client.scan_iter("*idempotency*")
        redis_server.client.delete(name)
        # Another gateway's claim on a second key, whose lease nobody renews.
        twice = {"idempotency-key": "order-67"}
        await knock(**twice)
        (other,) = redis_server.client.scan_iter("*idempotency*")
        value, seal = redis_server.client.get(other), Seal(PATIENT["redis_secret"])
        assert isinstance(value, bytes)
        record = seal.open(value, other.decode())
        assert record is not None
        redis_server.client.set(other, seal.close(b"R" + record[1:33], other.decode()), px=300)
        gateway.server.gateway.answers._records.clear()
        taken_over = await knock(**twice)

    assert taken_over.status == 200


async def test_neither_keys_nor_tenants_are_names_in_redis(redis_server: RedisServer) -> None:
    async with (
        serving(redis=redis_server.url, **PATIENT) as gateway,
        door("json", gateway) as knock,
    ):
        await knock(**KEY)

    names = b" ".join(redis_server.client.scan_iter())
    assert b"idempotency" in names
    assert b"order-66" not in names
