"""Bytes that would become far more in memory than they are; and everything else passes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.protocol.errors import ApiError
from avikam.protocol.field_count import GENERATE, TOKENIZE, check_fields
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2

LARGE = pb.Prompt(text="x" * 70_000)


def chat(messages: int) -> pb.Prompt:
    turns = [pb.ChatMessage(role=pb.ROLE_USER, content="a")] * messages
    return pb.Prompt(chat=pb.ChatMessages(messages=turns))


def test_every_field_counts_that_becomes_something() -> None:
    request = inference_pb2.GenerateRequest(
        model="m",
        prompts=[LARGE, pb.Prompt(text="a"), chat(3)],
        sampling=pb.SamplingParams(max_tokens=5, stop=["a", "b"]),
    ).SerializeToString()
    # One model, three prompts with a form each, three messages, one sampling with three fields.
    fields = 1 + 3 + 3 + 3 + 1 + 3

    check_fields(request, GENERATE, most=fields)
    with pytest.raises(ApiError) as refused:
        check_fields(request, GENERATE, most=fields - 1)

    assert (refused.value.status, refused.value.param) == (400, "prompt")


def test_a_conversation_counts_in_both_messages() -> None:
    tokenize = inference_pb2.TextTokenizeRequest(prompt=chat(20_000)).SerializeToString()
    generate = inference_pb2.GenerateRequest(prompts=[chat(20_000)]).SerializeToString()

    for body, inside in ((tokenize, TOKENIZE), (generate, GENERATE)):
        check_fields(body, inside, most=20_002)
        with pytest.raises(ApiError):
            check_fields(body, inside, most=20_001)


def test_what_is_small_is_not_counted() -> None:
    check_fields(b"\x12\x00" * 30_000, GENERATE, most=1)


@given(st.binary(max_size=60), st.integers(0, 40))
def test_no_bytes_break_the_count(noise: bytes, cut: int) -> None:
    body = inference_pb2.GenerateRequest(prompts=[LARGE, chat(2)]).SerializeToString()

    with contextlib.suppress(ApiError):
        check_fields(body[: len(body) - cut] + noise, GENERATE, most=9)
