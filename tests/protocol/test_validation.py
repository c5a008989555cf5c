"""The shared validator: every limit, just inside and just outside."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS
from avikam.protocol.off_values import in_our_spelling
from avikam.protocol.requests import GenerationRequest, check_request
from avikam.protocol.sampling import SamplingParams
from avikam.protocol.validation import check_sampling
from avikam.protocol.wire import (
    chat_prompt,
    checked_sampling,
    given_sampling,
    text_prompt,
    token_prompt,
)
from avikam.v1 import generation_pb2 as pb

TINY = 1e-9

# (field, just inside, just outside), both ends of every range.
NUMBERS: list[tuple[str, Any, Any]] = [
    ("temperature", 0.0, -TINY),
    ("temperature", 2.0, 2.0 + TINY),
    ("top_p", TINY, 0.0),
    ("top_p", 1.0, 1.0 + TINY),
    ("min_p", 0.0, -TINY),
    ("min_p", 1.0, 1.0 + TINY),
    ("repetition_penalty", 0.01, 0.01 - TINY),
    ("repetition_penalty", 10.0, 10.0 + TINY),
    ("presence_penalty", -2.0, -2.0 - TINY),
    ("presence_penalty", 2.0, 2.0 + TINY),
    ("frequency_penalty", -2.0, -2.0 - TINY),
    ("frequency_penalty", 2.0, 2.0 + TINY),
    ("max_tokens", 1, 0),
    ("max_tokens", LIMITS.max_tokens, LIMITS.max_tokens + 1),
    ("min_tokens", 0, -1),
    ("min_tokens", LIMITS.max_tokens, LIMITS.max_tokens + 1),
    ("top_k", 0, -1),
    ("top_k", LIMITS.max_tokens, LIMITS.max_tokens + 1),
    ("seed", 0, -1),
    ("seed", LIMITS.seed, LIMITS.seed + 1),
    ("logprobs", 0, -1),
    ("logprobs", LIMITS.logprobs, LIMITS.logprobs + 1),
    ("prompt_logprobs", 0, -1),
    ("prompt_logprobs", LIMITS.logprobs, LIMITS.logprobs + 1),
    ("stop", ("x",) * LIMITS.stop_strings, ("x",) * (LIMITS.stop_strings + 1)),
    ("stop", ("x",), ("",)),
    ("stop", ("x" * LIMITS.stop_string_chars,), ("x" * (LIMITS.stop_string_chars + 1),)),
    ("stop_token_ids", (7,) * LIMITS.stop_token_ids, (7,) * (LIMITS.stop_token_ids + 1)),
    ("stop_token_ids", (0,), (-1,)),
    ("stop_token_ids", (LIMITS.token_id,), (LIMITS.token_id + 1,)),
    (
        "logit_bias",
        dict.fromkeys(range(LIMITS.logit_bias), 0.0),
        dict.fromkeys(range(LIMITS.logit_bias + 1), 0.0),
    ),
    ("logit_bias", {0: -100.0}, {0: -100.0 - TINY}),
    ("logit_bias", {0: 100.0}, {0: 100.0 + TINY}),
    ("logit_bias", {LIMITS.token_id: 1.0}, {LIMITS.token_id + 1: 1.0}),
    ("json_schema", "x" * LIMITS.grammar_chars, "x" * (LIMITS.grammar_chars + 1)),
    ("regex", "x" * LIMITS.grammar_chars, "x" * (LIMITS.grammar_chars + 1)),
]


@pytest.mark.parametrize(
    ("name", "inside", "outside"), NUMBERS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(NUMBERS)]
)
def test_limits_hold_to_the_last_step(name: str, inside: Any, outside: Any) -> None:
    accepted = SamplingParams(**{name: inside})
    assert check_sampling(accepted) is accepted
    with pytest.raises(ApiError) as caught:
        check_sampling(SamplingParams(**{name: outside}))
    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ApiError, match=name):
        check_sampling(SamplingParams(**{name: value}))
    with pytest.raises(ApiError, match="logit_bias"):
        check_sampling(SamplingParams(logit_bias={1: value}))


def test_fields_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ApiError, match="min_tokens 5 is above max_tokens 4"):
        check_sampling(SamplingParams(min_tokens=5, max_tokens=4))
    with pytest.raises(ApiError, match="both given"):
        check_sampling(SamplingParams(json_schema="{}", regex="a"))


def test_every_numeric_field_has_a_row_in_the_table() -> None:
    unlimited = {"ignore_eos"}
    assert {name for name, *_ in NUMBERS} == {f.name for f in fields(SamplingParams)} - unlimited


def test_a_huge_number_is_not_echoed() -> None:
    with pytest.raises(ApiError) as caught:
        check_sampling(SamplingParams(seed=10**400))
    assert len(caught.value.message) < 100


NUMBER = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.floats(-3, 3))
INTEGER = st.one_of(st.integers(-2, 64), st.integers(-(2**70), 2**70))
TEXT = st.text(max_size=300)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": INTEGER,
            "min_tokens": INTEGER,
            "temperature": NUMBER,
            "top_k": INTEGER,
            "top_p": NUMBER,
            "min_p": NUMBER,
            "repetition_penalty": NUMBER,
            "presence_penalty": NUMBER,
            "frequency_penalty": NUMBER,
            "logit_bias": st.dictionaries(INTEGER, NUMBER, max_size=3),
            "seed": INTEGER,
            "stop": st.lists(TEXT, max_size=5).map(tuple),
            "stop_token_ids": st.lists(INTEGER, max_size=3).map(tuple),
            "ignore_eos": st.booleans(),
            "logprobs": INTEGER,
            "prompt_logprobs": INTEGER,
            "json_schema": TEXT,
        },
    )
)
def test_fields_are_refused_with_a_400_or_cross_the_wire_unchanged(asked: dict[str, Any]) -> None:
    try:
        message = checked_sampling(asked)
    except ApiError as error:
        assert error.status == 400
        assert error.param in asked
        return
    received = pb.SamplingParams.FromString(message.SerializeToString())
    # Empty lists and false are absent on the wire, and mean the same.
    ours = in_our_spelling(asked)
    meant = {name: value for name, value in ours.items() if value or type(value) in (int, float)}
    meant |= {"json_schema": asked["json_schema"]} if "json_schema" in asked else {}
    assert given_sampling(received) == meant


GOOD = GenerationRequest(prompts=[text_prompt("a")], sampling=pb.SamplingParams())

REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("prompt", {"prompts": [text_prompt("a")]}, {"prompts": []}),
    (
        "prompt",
        {"prompts": [text_prompt("a")] * LIMITS.prompts},
        {"prompts": [text_prompt("a")] * (LIMITS.prompts + 1)},
    ),
    ("prompt", {"prompts": [text_prompt("a")]}, {"prompts": [text_prompt("")]}),
    ("prompt", {"prompts": [token_prompt([0])]}, {"prompts": [token_prompt([])]}),
    ("prompt", {"prompts": [token_prompt([0])]}, {"prompts": [pb.Prompt()]}),
    ("n", {"n": 1}, {"n": 0}),
    ("n", {"n": LIMITS.choices}, {"n": LIMITS.choices + 1}),
    (
        "model",
        {"model": "m" * LIMITS.model_name_chars},
        {"model": "m" * (LIMITS.model_name_chars + 1)},
    ),
    ("language", {"language": "fr"}, {"language": "de"}),
    (
        "messages",
        {"prompts": [chat_prompt([("user", "a")] * LIMITS.messages)]},
        {"prompts": [chat_prompt([("user", "a")] * (LIMITS.messages + 1))]},
    ),
    ("messages", {"prompts": [chat_prompt([("user", "")])]}, {"prompts": [chat_prompt([])]}),
]


@pytest.mark.parametrize(
    ("param", "inside", "outside"), REQUESTS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(REQUESTS)]
)
def test_request_limits_hold_to_the_last_step(
    param: str, inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    check_request(replace(GOOD, **inside))
    with pytest.raises(ApiError) as caught:
        check_request(replace(GOOD, **outside))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_an_unknown_role_is_refused_by_its_place() -> None:
    chat = chat_prompt([("user", "a")])
    chat.chat.messages.add(content="b")
    with pytest.raises(ApiError) as caught:
        check_request(replace(GOOD, prompts=[chat]))
    assert caught.value.param == "messages[1].role"
