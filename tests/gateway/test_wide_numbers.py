"""Numbers that a field would cut to 32 bits are found; every other message passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.gateway.doors.wide_numbers import check_numbers
from avikam.protocol.errors import ApiError
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2

TOO_BIG = 2**32 + 5


def varint(value: int) -> bytes:
    head = bytes([value & 0x7F | 0x80]) if value > 0x7F else bytes([value])
    return head + varint(value >> 7) if value > 0x7F else head


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, *parts: bytes) -> bytes:
    inside = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(inside)) + inside


PROMPT = block(2, block(1, b"Bonjour"))
BIAS = block(10, number(1, TOO_BIG), b"\x11" + bytes(8))
CUT = {
    "max_tokens": PROMPT + block(3, number(1, TOO_BIG)),
    "top_k": PROMPT + block(3, number(4, 2**32)),
    "logit_bias": PROMPT + block(3, BIAS),
    "stop_token_ids": PROMPT + block(3, block(13, varint(7), varint(TOO_BIG))),
    "logprobs": PROMPT + block(3, number(15, 2**63)),
    "n": PROMPT + number(4, TOO_BIG),
    "prompt": block(2, block(2, block(1, varint(TOO_BIG), varint(5)))),
}


def check(body: bytes) -> None:
    check_numbers(inference_pb2.GenerateRequest.FromString(body), body)


@pytest.mark.parametrize("name", CUT)
def test_a_number_that_does_not_fit_is_told_by_its_field(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        check(CUT[name])

    assert (refused.value.status, refused.value.param) == (400, name)


def test_a_role_that_would_become_another_one_is_found() -> None:
    turn = block(1, number(1, 2**32 + pb.ROLE_USER), block(2, b"a"))

    with pytest.raises(ApiError, match="prompt has a number"):
        check(block(2, block(3, turn)))


def test_what_is_written_in_another_way_is_no_error() -> None:
    twice = PROMPT + block(3, number(1, 5)) + block(3, number(1, 6))
    unpacked = block(2, block(2, number(1, 5), number(1, 6)))
    padded = PROMPT + block(3, b"\x08\x85\x80\x80\x00")
    nobody_knows = PROMPT + number(100, 2**40)

    for body in (twice, unpacked, padded, nobody_knows):
        check(body)


@given(st.integers(0, 2**64 - 1), st.sampled_from([1, 2, 4, 15, 16]))
def test_what_passes_is_what_was_sent_or_beyond_every_limit(value: int, field: int) -> None:
    body = PROMPT + block(3, number(field, value))
    read = inference_pb2.GenerateRequest.FromString(body)
    ((_, kept),) = read.sampling.ListFields()

    try:
        check_numbers(read, body)
    except ApiError:
        assert kept != value
    else:
        assert kept == value or kept >= 2**28
