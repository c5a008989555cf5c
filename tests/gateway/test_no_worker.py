"""What the gateway says while no worker is ready: come back, not that there is no such thing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway.harness import RunningGateway, gateway_at

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with gateway_at("127.0.0.1:1", first_worker_seconds=0.05) as started:
        yield started


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models/avikam1-nano", None),
        ("GET", "/v1/models/organisation/model", None),
        ("GET", "/readyz", None),
        ("GET", "/tokenizer_info", None),
        ("POST", "/tokenize", {"prompt": "a"}),
        ("POST", "/generate", {"prompt": "a"}),
        ("POST", "/generate", {"prompt": "a", "stream": True}),
        ("POST", "/v1/completions", {"prompt": "a", "model": "anything"}),
    ],
)
async def test_what_needs_a_worker_is_told_to_come_back(
    gateway: RunningGateway, method: str, path: str, body: dict[str, object] | None
) -> None:
    reply = await gateway.client.request(method, path, json=body)

    assert reply.status_code == 503, reply.text
    assert int(reply.headers["retry-after"]) >= 1


async def test_what_is_not_known_yet_is_null_and_not_empty(gateway: RunningGateway) -> None:
    info = (await gateway.get("/info")).json()

    assert info["model_id"] is None
    assert info["max_total_tokens"] is None
    assert (info["workers_ready"], info["router"]) == (0, "avikam-gateway")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "GZIP"])
async def test_an_encoded_body_is_told_which_coding_is_read(
    gateway: RunningGateway, coding: str
) -> None:
    reply = await gateway.send("/generate", b"\x1f\x8b", content_encoding=coding)

    assert reply.status_code == 415
    assert reply.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/generate", "application/json, application/x-protobuf"),
        ("/v1/messages", "application/json"),
    ],
)
async def test_an_unread_type_is_told_which_are_read(
    gateway: RunningGateway, path: str, accept: str
) -> None:
    reply = await gateway.send(path, b"a: 1", content_type="application/yaml")

    assert (reply.status_code, reply.headers["accept"]) == (415, accept)
