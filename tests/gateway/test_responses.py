"""OpenAI's Responses, text in and text out, as its own client sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.gateway.harness import RunningGateway, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "avikam1-fake"
TURNS: list[Any] = [
    {"role": "user", "content": "Bonjour"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Salut"}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Ça va ?"}]},
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(gateway: RunningGateway) -> AsyncIterator[AsyncOpenAI]:
    """openai-python, which raises on every field that is not as its types say."""
    async with AsyncOpenAI(
        base_url=f"{gateway.server.url}/v1",
        api_key="none",
        max_retries=0,
        _strict_response_validation=True,
    ) as strict:
        yield strict


@pytest.mark.parametrize("asked", ["Bonjour", TURNS], ids=["text", "turns"])
async def test_a_response_is_answered(client: AsyncOpenAI, asked: Any) -> None:
    response = await client.responses.create(
        model=MODEL, input=asked, instructions="Sois bref.", max_output_tokens=20
    )

    assert response.output_text
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 20
    assert response.usage.total_tokens == response.usage.input_tokens + 20


async def test_events_are_numbered_and_join_to_the_response(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(
        model=MODEL, input="Bonjour", max_output_tokens=30, stream=True
    )
    events = [event async for event in stream]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.incomplete"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]


async def test_an_answer_that_breaks_off_ends_in_an_error() -> None:
    async with (
        serving(plan="tpot=1ms,drop@9", resumes=0) as broken,
        AsyncOpenAI(base_url=f"{broken.server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.responses.create(
            model=MODEL, input="Bonjour", max_output_tokens=30, stream=True
        )
        events = [event async for event in stream]

    assert events[-1].type == "error"
    assert events[-1].code == "stream_interrupted"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "auto"}, "truncation"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema"}}}, "text"),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, "verbosity"),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"maximum": 10**30}}}},
            "text.format",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": []}, "input"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_what_is_not_there_is_refused_by_name(
    client: AsyncOpenAI, change: dict[str, Any], param: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": "Bonjour", **change}

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(**asked)

    assert caught.value.param == param
