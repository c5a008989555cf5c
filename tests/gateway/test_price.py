"""What a request will take of memory is known, and paid for, before it is built."""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.gateway.api.json_body import parse_object
from avikam.gateway.budget.lengths import check_lengths
from avikam.gateway.budget.price import ALTERNATIVE_BYTES, SEQUENCE_BYTES, price
from avikam.gateway.budget.weights import json_weight
from avikam.gateway.generation import Generation
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS, MIB
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb
from tests.gateway.doors import door
from tests.gateway.harness import serving

CONTEXT = 2048


def asked(prompts: int = 1, n: int = 1, text: str = "a", **sampling: Any) -> GenerationRequest:
    """A request for so many answers."""
    return GenerationRequest([pb.Prompt(text=text)] * prompts, pb.SamplingParams(**sampling), n=n)


def test_logprobs_of_a_whole_answer_are_paid_for_and_those_of_a_stream_are_not() -> None:
    request = asked(max_tokens=1000, logprobs=20)

    whole = price(request, False, CONTEXT, 32)
    streamed = price(request, True, CONTEXT, 32)

    assert whole > 1000 * 21 * ALTERNATIVE_BYTES
    assert streamed == SEQUENCE_BYTES


@pytest.mark.parametrize(
    ("request_", "streamed"),
    [
        (asked(64, 8, max_tokens=1900, logprobs=20), False),
        (asked(64, 8, logprobs=20), False),
        (asked(4096, 8, max_tokens=64, logprobs=0), False),
        (asked(64, 1, text="a" * 4000, max_tokens=1, prompt_logprobs=20), False),
        (asked(64, 1, text="a" * 40_000, max_tokens=1, prompt_logprobs=20), True),
    ],
    ids=["long answers", "as long as the model likes", "many answers", "long prompts", "streamed"],
)
def test_what_would_be_too_much_is_refused_with_a_way_out(
    request_: GenerationRequest, streamed: bool
) -> None:
    with pytest.raises(ApiError) as refused:
        price(request_, streamed, CONTEXT, 32)

    assert (refused.value.status, refused.value.code) == (400, "answer_too_large")
    assert ("stream it" in refused.value.message) is not streamed


def test_a_large_batch_without_logprobs_is_welcome() -> None:
    assert price(asked(4096, 1, max_tokens=256), False, CONTEXT, 32) < 128 * MIB


@pytest.mark.parametrize(
    ("prompt", "fits"),
    [
        (pb.Prompt(tokens={"ids": [5] * (CONTEXT - 1)}), True),
        (pb.Prompt(tokens={"ids": [5] * CONTEXT}), False),
        (pb.Prompt(text="é" * (LIMITS.token_chars * CONTEXT)), True),
        (pb.Prompt(text="é" * (LIMITS.token_chars * CONTEXT + 1)), False),
        (pb.Prompt(chat={"messages": [{"content": "a" * CONTEXT}] * 65}), False),
    ],
    ids=["ids that fit", "ids", "text that may fit", "text", "turns"],
)
def test_a_prompt_that_cannot_fit_goes_no_further(prompt: pb.Prompt, fits: bool) -> None:
    request = GenerationRequest([prompt], pb.SamplingParams())
    try:
        check_lengths(request, CONTEXT)
    except ApiError as error:
        assert not fits
        assert error.code == "context_length_exceeded"
    else:
        assert fits
    check_lengths(request, 0)


@pytest.mark.parametrize("kind", ["json", "protobuf", "grpc"])
async def test_every_door_refuses_it_before_a_worker_hears_of_it(kind: str) -> None:
    async with serving(grpc_port=0) as gateway, door(kind, gateway) as knock:
        steps = gateway.worker.engine.stats().step
        told = await knock(prompt="a" * 140_000)
        asked_the_worker = gateway.metric("prompt_tokens_total") or (
            gateway.worker.engine.stats().slots_used
        )

    assert (told.status, told.code) == (400, "context_length_exceeded")
    assert not asked_the_worker
    assert steps >= 0


def size_of(value: object) -> int:
    """Bytes of an object and of all that is in it."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        size += sum(size_of(key) + size_of(inner) for key, inner in value.items())
    elif isinstance(value, list):
        size += sum(map(size_of, value))
    return size


ITEMS = st.sampled_from([b"[]", b"{}", b"1", b"99999", b'""', b'"ab"', b'{"a":1}', b"[[]]", b"1.5"])


@settings(max_examples=60, deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=6))
def test_a_body_weighs_what_its_objects_take(items: list[bytes]) -> None:
    row = b",".join(items)
    body = b'{"a":[' + b",".join([row] * (100_000 // len(row))) + b"]}"

    assert size_of(parse_object(body)) < 1.5 * json_weight(body)


async def test_thousands_of_sequences_are_not_made_at_once() -> None:
    request = asked(4096, 8, max_tokens=4)
    generation = Generation("a", request, time.monotonic() + 60, streamed=True)
    async with serving(plan="tpot=1ms", batch_concurrency=16) as gateway:
        handler = gateway.server.gateway.handler
        async with aclosing(handler.frames(generation)) as news:
            async for _ in news:
                made = len(generation.journals)
                break

    assert made <= 2 * 16


async def test_a_streamed_batch_forgets_what_it_has_told() -> None:
    body = {"prompt": ["a", "b", "c"], "n": 2, "max_tokens": 9, "stream": True}
    async with serving() as gateway:
        stream = await gateway.stream("/generate", **body)
        whole = await gateway.post("/generate", **{**body, "stream": False})
        free = gateway.server.gateway.room.free

    assert stream.events[-1]["usage"] == whole.json()["usage"]
    assert stream.events[-1]["usage"]["completion_tokens"] == 54
    assert free == gateway.server.gateway.settings.body_bytes
