"""Streams of OpenAI's routes, as the client reads them: whole ones, and every way to be none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from avikam.client import (
    AsyncClient,
    AvikamError,
    Client,
    ConnectionFailed,
    Event,
    NotFound,
    Retries,
    StreamInterrupted,
)
from avikam.client.events import EventReader
from tests.gateway.harness import RunningGateway, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = {"messages": [{"role": "user", "content": "Bonjour"}], "max_tokens": 6, "seed": 3}
PROMPT = {"prompt": "Bonjour", "max_tokens": 6, "seed": 3}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with serving(plan="tpot=1ms") as started:
        yield started


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", PROMPT), ("/v1/chat/completions", CHAT)]
)
async def test_events_add_up_to_the_answer(
    gateway: RunningGateway, path: str, body: dict[str, object]
) -> None:
    whole = (await gateway.client.post(path, json=body)).json()
    async with AsyncClient(gateway.server.url) as client:
        events = [event async for event in client.events(path, body)]

    choice = whole["choices"][0]
    assert "".join(e.text for e in events) == choice.get(
        "text", choice.get("message", {}).get("content")
    )
    assert [e.finish_reason for e in events if e.finish_reason] == [choice["finish_reason"]]
    assert [e.usage["completion_tokens"] for e in events if e.usage] == [6]


async def test_an_error_before_the_stream_is_its_own_class(gateway: RunningGateway) -> None:
    async with AsyncClient(gateway.server.url, retries=Retries(0)) as client:
        with pytest.raises(NotFound) as refused:
            async for _ in client.events("/v1/completions", {**PROMPT, "model": "nobody"}):
                pass

    assert (refused.value.status, refused.value.code) == (404, "model_not_found")
    assert refused.value.request_id


def read(*lines: str) -> list[Event]:
    """All events of a stream that has ended."""
    reader = EventReader("abc")
    events = [reader.feed(line) for line in lines]
    reader.close()
    return [event for event in events if event is not None]


WHOLE = (
    ": ping",
    "",
    'data: {"choices": [{"text": "a"}]}',
    'data:{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}',
    "event: anything",
    'data: {"choices": [], "usage": {"completion_tokens": 2}}',
    "data: [DONE]",
    "data: what comes later is nobody's",
)


async def test_what_is_no_event_is_passed_over() -> None:
    assert read(*WHOLE) == [
        Event("a"),
        Event("b", "stop"),
        Event(usage={"completion_tokens": 2}),
    ]


@pytest.mark.parametrize("end", range(len(WHOLE) - 2))
async def test_a_stream_that_breaks_off_anywhere_is_an_error(end: int) -> None:
    with pytest.raises(StreamInterrupted, match="ended before the answer did") as broken:
        read(*WHOLE[:end])

    assert broken.value.request_id == "abc"


@pytest.mark.parametrize(
    "data",
    ["{", "[]", "5", "null", '{"choices": 5}', '{"choices": [5]}', '{"choices": [{"text": 5}]}',
     '{"usage": 5}', '{"error": 5}', '{"error": {}}', "[" * 100_000],
)  # fmt: skip
async def test_what_is_no_event_of_these_routes_is_told(data: str) -> None:
    with pytest.raises(ConnectionFailed, match="is this an Avikam gateway"):
        read(f"data: {data}")


async def test_an_error_event_ends_the_stream_with_its_words() -> None:
    with pytest.raises(StreamInterrupted) as broken:
        read('data: {"error": {"message": "It broke off.", "code": "stream_interrupted"}}')

    assert (broken.value.message, broken.value.code) == ("It broke off.", "stream_interrupted")


async def test_the_blocking_client_reads_them_too() -> None:
    def half(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text='data: {"choices": [{"text": "a"}]}\n\n')

    client = Client("http://gateway", retries=Retries(0))
    client._http = httpx.Client(transport=httpx.MockTransport(half), base_url="http://gateway")
    events = client.events("/v1/completions", PROMPT)

    assert next(events).text == "a"
    with pytest.raises(AvikamError, match="ended before"):
        next(events)
