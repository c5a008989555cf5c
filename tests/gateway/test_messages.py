"""Anthropic's routes as its own client sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic

from tests.gateway.harness import RunningGateway, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "avikam1-fake"
HELLO: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Bonjour"}]}]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(gateway: RunningGateway) -> AsyncIterator[AsyncAnthropic]:
    """anthropic-python, which raises on every field that is not as its types say."""
    async with AsyncAnthropic(
        base_url=gateway.server.url,
        api_key="none",
        max_retries=0,
        _strict_response_validation=True,
    ) as strict:
        yield strict


async def test_a_message_is_answered(client: AsyncAnthropic) -> None:
    message = await client.messages.create(
        model=MODEL,
        max_tokens=20,
        system="Sois bref.",
        messages=HELLO,
        extra_body={"temperature": 0.5, "top_k": 40},
    )

    assert message.role == "assistant"
    assert message.content[0].type == "text"
    assert message.content[0].text
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 20
    assert message.usage.input_tokens > len("Sois bref.Bonjour")


async def test_events_come_in_order_and_join_to_the_message(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=30, messages=HELLO) as stream:
        pieces, kinds = [], []
        async for event in stream:
            kinds.append(event.type)
            if event.type == "text":
                pieces.append(event.text)
        message = await stream.get_final_message()

    assert message.content[0].type == "text"
    assert "".join(pieces) == message.content[0].text
    assert message.usage.output_tokens == 30
    own = [kind for kind in dict.fromkeys(kinds) if kind != "text"]
    assert own == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_a_stop_sequence_is_named(client: AsyncAnthropic) -> None:
    message = await client.messages.create(
        model=MODEL, max_tokens=500, messages=HELLO, stop_sequences=["a", "e"]
    )

    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence in ("a", "e")


async def test_counted_tokens_are_those_of_the_message(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=HELLO, system="Sois bref.")
    message = await client.messages.create(
        model=MODEL, max_tokens=1, messages=HELLO, system="Sois bref."
    )

    assert counted.input_tokens == message.usage.input_tokens


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
        (
            {"messages": [{"role": "user", "content": "x" * 5000}]},
            "invalid_request_error",
            "maximum context length",
        ),
        ({"model": "claude"}, "not_found_error", "claude"),
        ({"tools": [{"name": "t", "input_schema": {}}]}, "invalid_request_error", "tools"),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "Je"}]},
            "invalid_request_error",
            "assistant",
        ),
        ({"messages": []}, "invalid_request_error", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_request_error", "role"),
        ({"stop_sequences": ["9" * 257]}, "invalid_request_error", "stop_sequences"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_errors_have_the_other_envelope(
    client: AsyncAnthropic, change: dict[str, Any], kind: str, words: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 5, "messages": HELLO, **change}

    with pytest.raises(anthropic.APIStatusError) as caught:
        await client.messages.create(**asked)

    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert words in body["error"]["message"]
    assert "code" not in body["error"]
    assert body["request_id"] == caught.value.request_id


async def test_an_answer_that_breaks_off_ends_in_an_error() -> None:
    async with (
        serving(plan="tpot=1ms,drop@9", resumes=0) as broken,
        AsyncAnthropic(base_url=broken.server.url, api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.APIError, match="broke off"):
            async with client.messages.stream(model=MODEL, max_tokens=30, messages=HELLO) as stream:
                await stream.until_done()


async def test_bodies_that_are_no_json_have_it_too(gateway: RunningGateway) -> None:
    reply = await gateway.send("/v1/messages", b"{", content_type="application/json")

    assert reply.status_code == 400
    assert reply.json()["type"] == "error"
