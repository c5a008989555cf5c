"""OpenAI's routes as its own client sees them, with strict validation of every reply."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES: list[Any] = [
    {"role": "system", "content": "Sois bref."},
    {"role": "user", "content": [{"type": "text", "text": "Bonjour"}]},
]
MODEL = "avikam1-fake"


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


@pytest.fixture
def lenient(client: AsyncOpenAI) -> AsyncOpenAI:
    """The client without its strictness, for what its types forbid and OpenAI itself sends: chunks
    of completions without a finish reason, and first tokens without a logprob."""
    return client.with_options(_extra_kwargs={"_strict_response_validation": False})


async def test_a_chat_is_answered(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_completion_tokens=20, seed=4
    )

    (choice,) = reply.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.refusal is None
    assert choice.finish_reason == "length"
    assert reply.object == "chat.completion"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 20


async def test_a_chat_stream_joins_to_the_answer(client: AsyncOpenAI) -> None:
    for seed in range(10):
        whole = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=30, seed=seed
        )
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=30, seed=seed, stream=True
        )
        chunks = [chunk async for chunk in stream]

        assert chunks[0].choices[0].delta.role == "assistant"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole.choices[0].message.content
        reasons = [chunk.choices[0].finish_reason for chunk in chunks]
        assert [reason for reason in reasons if reason] == ["length"]
        assert reasons[-1] == "length"
        assert all(chunk.usage is None for chunk in chunks)


async def test_usage_comes_only_when_asked_for(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = [chunk async for chunk in stream]

    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


async def test_usage_so_far_comes_with_every_chunk(gateway: RunningGateway) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await gateway.stream(
        "/v1/chat/completions", messages=MESSAGES, max_tokens=30, stream_options=options
    )

    counts = [event["usage"]["completion_tokens"] for event in stream.events]
    assert counts == sorted(counts)
    assert counts[-1] == 30


@pytest.mark.parametrize("echo", [False, True])
async def test_the_usage_of_many_completions_grows_to_the_whole(
    gateway: RunningGateway, echo: bool
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = {"prompt": ["a", "bc", "def"], "n": 2, "max_tokens": 5, "echo": echo}
    stream = await gateway.stream("/v1/completions", **asked, stream_options=options)

    *counted, whole = [event["usage"] for event in stream.events]
    totals = [usage["total_tokens"] for usage in counted]
    assert totals == sorted(totals)
    assert counted[-1] == whole
    assert whole["completion_tokens"] == 30


async def test_two_answers_differ_and_stream_apart(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=20, seed=4, n=2
    )
    stream = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=20, seed=4, n=2, stream=True
    )

    texts = ["", ""]
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]


async def test_chat_logprobs_are_the_same_streamed(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=15, seed=4, logprobs=True, top_logprobs=3
    )
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=15,
        seed=4,
        logprobs=True,
        top_logprobs=3,
        stream=True,
    )

    wanted = whole.choices[0].logprobs
    assert wanted is not None
    assert wanted.content is not None
    assert len(wanted.content) == 15
    assert all(len(token.top_logprobs) == 3 for token in wanted.content)
    found: list[Any] = []
    async for chunk in stream:
        logprobs = chunk.choices[0].logprobs
        found += (logprobs.content or []) if logprobs else []
    assert [(t.token, t.logprob, t.bytes) for t in found] == [
        (t.token, t.logprob, t.bytes) for t in wanted.content
    ]


async def test_a_completion_is_answered(client: AsyncOpenAI) -> None:
    reply = await client.completions.create(model=MODEL, prompt="Bonjour", seed=4)

    assert reply.object == "text_completion"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 16  # OpenAI's default
    assert reply.choices[0].finish_reason == "length"


async def test_a_completion_stream_joins_to_the_answer(lenient: AsyncOpenAI) -> None:
    for echo in (False, True):
        whole = await lenient.completions.create(
            model=MODEL, prompt=["un", "deux"], max_tokens=20, seed=4, n=2, echo=echo
        )
        stream = await lenient.completions.create(
            model=MODEL, prompt=["un", "deux"], max_tokens=20, seed=4, n=2, echo=echo, stream=True
        )
        texts = [""] * 4
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].text

        assert texts == [choice.text for choice in whole.choices]
        assert texts[2].startswith("deux") is echo


async def test_an_echo_with_logprobs_scores_the_prompt(lenient: AsyncOpenAI) -> None:
    ids = [0, 72, 108, 117]
    for max_tokens in (0, 1):
        reply = await lenient.completions.create(
            model=MODEL, prompt=ids, max_tokens=max_tokens, echo=True, logprobs=1
        )

        logprobs = reply.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.token_logprobs is not None
        assert logprobs.top_logprobs is not None
        assert len(logprobs.token_logprobs) == len(ids) + max_tokens
        assert len(logprobs.top_logprobs) == len(ids) + max_tokens
        assert list[object](logprobs.token_logprobs)[0] is None
        assert list[object](logprobs.top_logprobs)[0] is None
        assert all(value is not None and value < 0 for value in logprobs.token_logprobs[1:])
        assert reply.usage is not None
        assert reply.usage.completion_tokens == max_tokens


async def test_a_stop_text_may_be_one_or_many(client: AsyncOpenAI) -> None:
    whole = (
        await client.completions.create(model=MODEL, prompt="a", max_tokens=60, seed=4)
    ).choices
    stop = whole[0].text[12:17]

    for given in (stop, [stop]):
        reply = await client.completions.create(
            model=MODEL, prompt="a", max_tokens=60, seed=4, stop=given
        )

        assert reply.choices[0].text == whole[0].text[: whole[0].text.index(stop)]
        assert reply.choices[0].finish_reason == "stop"


async def test_answers_of_one_model_have_one_fingerprint(client: AsyncOpenAI) -> None:
    chat = await client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=2)
    stream = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=2, stream=True
    )
    prints = {chunk.system_fingerprint async for chunk in stream}
    text = await client.completions.create(model=MODEL, prompt="a", max_tokens=2)

    assert prints == {chat.system_fingerprint} == {text.system_fingerprint}
    assert str(chat.system_fingerprint).startswith("fp_")


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    one = await client.models.retrieve(MODEL)

    assert [model.id for model in models] == [MODEL]
    assert one.object == "model"
    assert one.owned_by == "avikam"


async def test_errors_have_their_class_code_and_request_id(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.completions.create(model="nobody", prompt="a")
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.completions.create(model=MODEL, prompt="a" * 5000)

    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id
    assert too_long.value.code == "context_length_exceeded"
    assert "maximum context length is 2048 tokens" in too_long.value.message


ROLES = ("system", "developer", "user", "assistant", "tool", "function")


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_is_read(gateway: RunningGateway, role: str) -> None:
    message = {"role": role, "content": "Bonjour", "name": None, "tool_calls": None}

    reply = await gateway.post("/v1/chat/completions", messages=[message], max_tokens=2)

    assert reply.status_code == 200, reply.text


async def test_calls_of_tools_are_part_of_the_conversation(gateway: RunningGateway) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Quelle heure ?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "midi"},
    ]

    reply = await gateway.post("/v1/chat/completions", messages=messages, max_tokens=2)

    assert reply.status_code == 200, reply.text
