"""A length that nobody asked for is cut to what the context has left; one that was is refused."""

from __future__ import annotations

from typing import Any

import pytest

from avikam.client import AsyncGrpcClient, AvikamError, Retries
from tests.gateway.harness import RunningGateway, serving
from tests.worker.harness import LOOPBACK

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTEXT = 2048


def route_bodies(text: str) -> dict[str, dict[str, Any]]:
    """A body without a length for every route that takes one."""
    messages = [{"role": "user", "content": text}]
    return {
        "/generate": {"prompt": text},
        "/": {"inputs": text},
        "/v1/completions": {"prompt": text},
        "/v1/chat/completions": {"messages": messages},
        "/v1/responses": {"input": text},
    }


ROUTES = list(route_bodies(""))
LENGTHS = {
    "/generate": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/responses": "max_output_tokens",
}


async def tokens_of(gateway: RunningGateway, text: str, *, chat: bool) -> int:
    form = {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    return int((await gateway.post("/tokenize", **form)).json()["count"])


async def text_that_leaves(gateway: RunningGateway, room: int, *, chat: bool) -> str:
    """A text after which the context has room for so many tokens."""
    frame = await tokens_of(gateway, "x", chat=chat) - 1
    return "x" * (CONTEXT - frame - room)


@pytest.mark.parametrize("room", [1, 5, 255])
@pytest.mark.parametrize("path", ROUTES)
async def test_a_prompt_that_fits_is_answered(
    gateway: RunningGateway, path: str, room: int
) -> None:
    chat = path in ("/v1/chat/completions", "/v1/responses")
    text = await text_that_leaves(gateway, room, chat=chat)
    body = route_bodies(text)[path]

    whole = await gateway.post(path, **body)
    streamed = await gateway.stream(path, **body)

    assert whole.status_code == 200, whole.text
    assert streamed.status == 200
    usage = whole.json()["usage"] if path != "/" else {}
    if usage:
        assert 1 <= (usage.get("completion_tokens") or usage["output_tokens"]) <= room


@pytest.mark.parametrize("path", LENGTHS)
async def test_a_length_that_was_asked_for_is_refused(gateway: RunningGateway, path: str) -> None:
    chat = path in ("/v1/chat/completions", "/v1/responses")
    body = route_bodies(await text_that_leaves(gateway, 5, chat=chat))[path]

    fits = await gateway.post(path, **body, **{LENGTHS[path]: 5})
    refused = await gateway.post(path, **body, **{LENGTHS[path]: 6})

    assert fits.status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", ROUTES)
async def test_a_prompt_without_room_is_refused_all_the_same(
    gateway: RunningGateway, path: str
) -> None:
    reply = await gateway.post(path, **route_bodies("x" * CONTEXT)[path])

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


async def test_no_limit_is_what_the_context_has_left(gateway: RunningGateway) -> None:
    text = await text_that_leaves(gateway, 40, chat=False)

    reply = await gateway.post("/generate", prompt=text, max_tokens=-1, ignore_eos=True)

    assert reply.json()["usage"]["total_tokens"] == CONTEXT


async def test_anthropics_length_is_a_bound(gateway: RunningGateway) -> None:
    """Its clients have to name one, and name what another model can do."""
    text = await text_that_leaves(gateway, 30, chat=True)
    messages = [{"role": "user", "content": text}]

    reply = await gateway.post("/v1/messages", messages=messages, max_tokens=32_000)

    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["output_tokens"] <= 30


async def test_the_least_length_counts_as_asked_for(gateway: RunningGateway) -> None:
    text = await text_that_leaves(gateway, 5, chat=False)

    fits = await gateway.post("/generate", prompt=text, min_tokens=5)
    refused = await gateway.post("/generate", prompt=text, min_tokens=6)

    assert fits.json()["usage"]["completion_tokens"] == 5
    assert refused.json()["error"]["code"] == "context_length_exceeded"


async def test_grpc_has_the_same_rule() -> None:
    async with serving(grpc_port=0) as gateway:
        text = await text_that_leaves(gateway, 5, chat=False)
        address = f"{LOOPBACK}:{gateway.server.grpc_port}"
        async with AsyncGrpcClient(address, retries=Retries(0)) as client:
            answer = await client.generate(text)
            with pytest.raises(AvikamError) as refused:
                await client.generate(text, max_tokens=6)

    assert answer.completion_tokens <= 5
    assert refused.value.code == "context_length_exceeded"
