"""Requests and tokens per minute, requests at once: the same through every door."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from avikam.gateway.access.key_file import read_keys, write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.limits.counters import Count, LocalCounters
from tests.gateway.doors import Answer, door
from tests.gateway.harness import RunningGateway, serving
from tests.worker.harness import eventually

DOORS = ("json", "protobuf", "grpc")
SECRETS = {name: new_secret(name) for name in ("alice", "bob", "carol")}


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """alice and bob are of one tenant; carol, of the same, has limits of her own."""
    path = tmp_path / "keys.yaml"
    own: dict[str, dict[str, Any]] = {"carol": {"requests_per_minute": 5, "tokens_per_minute": 900}}
    write_keys(
        path,
        [
            Key(id=name, sha256=digest(secret), tenant="acme", **own.get(name, {}))
            for name, secret in SECRETS.items()
        ],
    )
    return path


@pytest.mark.parametrize("kind", DOORS)
async def test_requests_are_counted_told_and_refused(kind: str) -> None:
    async with (
        serving(grpc_port=0, requests_per_minute=3) as gateway,
        door(kind, gateway) as knock,
    ):
        let_in = [await knock() for _ in range(3)]
        refused = await knock()

    assert [answer.standing("requests") for answer in let_in] == [(3, 2), (3, 1), (3, 0)]
    assert let_in[0].headers["x-ratelimit-reset-requests"].endswith("s")
    assert_refused(refused, "rate_limit_exceeded", within=60)
    assert refused.standing("requests") == (3, 0)


@pytest.mark.parametrize("kind", DOORS)
async def test_tokens_are_debited_as_estimated_and_settled_as_they_came(kind: str) -> None:
    """40 tokens are asked for, 20 are debited beside the prompt; 60 come from a prompt of 20."""
    async with (
        serving(grpc_port=0, tokens_per_minute=200) as gateway,
        door(kind, gateway) as knock,
    ):
        first = await knock(prompt="b" * 80, max_tokens=40)
        second = await knock(prompt="b" * 80, max_tokens=40)
        refused = await knock(prompt="b" * 80, max_tokens=150)

    assert first.standing("tokens") == (200, 160)
    # 80 characters are 81 tokens of the fake engine's; 40 were generated.
    assert second.standing("tokens") == (200, 200 - 121 - 40)
    assert_refused(refused, "rate_limit_exceeded", within=60)


def assert_refused(answer: Answer, code: str, within: float) -> None:
    assert (answer.status, answer.code) == (429, code)
    assert 1 <= float(answer.headers["retry-after"]) <= within


@pytest.mark.parametrize("kind", DOORS)
async def test_what_can_never_fit_is_not_asked_to_come_back(kind: str) -> None:
    async with (
        serving(grpc_port=0, tokens_per_minute=50) as gateway,
        door(kind, gateway) as knock,
    ):
        refused = await knock(max_tokens=1000)

    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize("kind", DOORS)
async def test_a_place_is_taken_while_a_request_runs(kind: str) -> None:
    async with (
        serving(plan="hang@2", grpc_port=0, concurrent_requests=1) as gateway,
        door(kind, gateway) as knock,
    ):
        running: asyncio.Task[Answer] = asyncio.create_task(knock(max_tokens=9))
        await eventually(lambda: gateway.server.gateway.admission.running == 1)
        refused = await knock()
        running.cancel()
        await gateway.idle()
        places = gateway.server.gateway.gatekeeper._tariff._places
        await eventually(lambda: not places._taken)

    assert_refused(refused, "concurrency_limit_exceeded", within=1)


async def test_a_tenants_keys_share_and_a_key_with_its_own_limit_does_not(key_file: Path) -> None:
    async with serving(keys=key_file, requests_per_minute=2) as gateway:
        statuses = {
            name: [await status(gateway, name) for _ in range(count)]
            for name, count in (("alice", 1), ("bob", 2), ("carol", 6))
        }

    assert statuses == {"alice": [200], "bob": [200, 429], "carol": [200] * 5 + [429]}


async def status(gateway: RunningGateway, name: str) -> int:
    body = {"prompt": "Bonjour", "max_tokens": 2}
    reply = await gateway.client.post("/generate", json=body, headers=bearer(name))
    return reply.status_code


async def test_every_route_that_works_counts_and_none_that_looks() -> None:
    async with serving(requests_per_minute=4) as limited:
        for _ in range(9):
            assert "x-ratelimit-limit-requests" not in (await limited.get("/v1/models")).headers
        await limited.post("/tokenize", prompt="Bonjour")
        await limited.post("/v1/chat/completions", messages=[{"role": "user", "content": "a"}])
        await limited.stream("/v1/completions", prompt="Bonjour")
        last = await limited.send("/generate", b"{")
        refused = await limited.post(
            "/v1/messages", messages=[{"role": "user", "content": "a"}], max_tokens=2
        )

    assert last.status_code == 400
    assert last.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"


async def test_the_limit_nearest_its_end_is_told_in_the_usual_words() -> None:
    async with serving(requests_per_minute=100, tokens_per_minute=1000) as gateway:
        first = await gateway.post("/generate", prompt="b" * 40, max_tokens=100)
        looked = await gateway.post("/tokenize", prompt="b")

    names = [f"ratelimit-{what}" for what in ("limit", "remaining", "reset")]
    told = [int(first.headers[name]) for name in names]
    assert told[0] == 1000
    assert told[1] == int(first.headers["x-ratelimit-remaining-tokens"])
    assert 0 < told[2] <= 60
    assert looked.headers["ratelimit-limit"] == "100"


async def test_streams_tell_and_settle_like_whole_answers() -> None:
    async with serving(tokens_per_minute=1000) as gateway:
        stream = await gateway.stream(prompt="b" * 40, max_tokens=100)
        after = await gateway.post("/generate", prompt="b", max_tokens=2)

    assert stream.headers["x-ratelimit-remaining-tokens"] == str(1000 - 10 - 50)
    assert after.headers["x-ratelimit-remaining-tokens"] == str(1000 - 41 - 100 - 1)


async def test_a_client_that_leaves_pays_for_what_it_had() -> None:
    async with serving(plan="hang@5", tokens_per_minute=1000) as gateway:
        body = {"prompt": "b" * 40, "max_tokens": 100, "stream": True}
        async with gateway.client.stream("POST", "/generate", json=body) as response:
            await anext(response.aiter_lines())
        await eventually(lambda: gateway.metric("requests_in_flight") == 0)
        counters = gateway.server.gateway.gatekeeper._tariff._counters
        used = (await counters.add("tokens/tenant/", 0)).used

    assert used <= 41 + 5


async def test_a_clock_set_back_makes_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = LocalCounters()
    await counters.add("requests/tenant/a", 7)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600)

    assert await counters.add("requests/tenant/a", 1) == Count(1, 60.0)


def test_limits_are_kept_in_the_key_file(key_file: Path) -> None:
    carol = read_keys(key_file)[2]

    assert (carol.requests_per_minute, carol.concurrent_requests) == (5, None)
    assert "null" not in key_file.read_text()
