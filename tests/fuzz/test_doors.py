"""Anything may come through the doors: JSON, protobuf, gRPC. Nothing of it is a server's error."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.fuzz.conftest import Target
from tests.fuzz.effort import effort

PROTOBUF = {"content-type": "application/x-protobuf"}
PATHS = (
    "/generate",
    "/generate_stream",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/tokenize",
    "/detokenize",
    "/",
)
FIELDS = (
    "prompt",
    "inputs",
    "parameters",
    "messages",
    "input",
    "model",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "stop",
    "seed",
    "n",
    "stream",
    "stream_options",
    "logprobs",
    "prompt_logprobs",
    "logit_bias",
    "response_format",
    "json_schema",
    "regex",
    "tokens",
    "content",
    "echo",
    "best_of",
    "tools",
    "role",
)
HEADERS = (
    "accept",
    "authorization",
    "content-encoding",
    "content-type",
    "expect",
    "idempotency-key",
    "range",
    "x-api-key",
    "x-request-id",
    "x-request-timeout-ms",
)
# Long answers only cost time here.
SMALL = {"max_tokens": 3}

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["user", "assistant", "fr", "json_object", "", "a" * 300, "[DONE]", "\0"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)
likely = st.fixed_dictionaries({"prompt": st.text(min_size=1, max_size=8)}, optional={}).flatmap(
    lambda good: bodies.map(lambda wild: {**SMALL, **wild, **good})
)


def dumped(value: Any) -> bytes:
    """JSON, with whatever numbers there are."""
    return orjson.dumps(value) if _plain(value) else repr(value).encode(errors="replace")


def _plain(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


@effort()
@given(path=st.sampled_from(PATHS), body=bodies | likely)
def test_json_objects(target: Target, path: str, body: dict[str, Any]) -> None:
    target.check(target.http.post(path, content=dumped({**SMALL, **body})))


@effort()
@given(
    path=st.sampled_from(PATHS),
    body=likely.map(dumped),
    at=st.integers(0, 200),
    piece=st.binary(max_size=6),
)
def test_damaged_json(target: Target, path: str, body: bytes, at: int, piece: bytes) -> None:
    target.check(target.http.post(path, content=body[:at] + piece + body[at + len(piece) :]))


@effort()
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=200))
def test_bytes_that_are_nothing(target: Target, path: str, body: bytes) -> None:
    target.check(target.http.post(path, content=body))


@effort(0.5)
@given(
    path=st.text(max_size=30).map(lambda text: "/" + quote(text, safe="/?&=.:;%@")),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
)
def test_paths_and_methods(target: Target, path: str, method: str) -> None:
    reply = target.http.request(method, path)

    assert reply.status_code < 500
    target.fine()


@effort(0.5)
@given(
    st.dictionaries(
        st.sampled_from(HEADERS),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip),
        max_size=4,
    )
)
def test_headers(target: Target, headers: dict[str, str]) -> None:
    body = b'{"prompt": "a", "max_tokens": 2}'

    reply = target.http.post("/generate", content=body, headers=headers)

    # A deadline of a few milliseconds may well pass.
    assert reply.status_code < 500 or reply.status_code == 504, reply.text
    target.fine()


# Protobuf, as a body and over gRPC


def messages() -> st.SearchStrategy[bytes]:
    """Requests that make sense in places."""
    prompts = st.one_of(
        st.text(max_size=10).map(lambda text: pb.Prompt(text=text)),
        st.lists(st.integers(0, 2**32 - 1), max_size=4).map(
            lambda ids: pb.Prompt(tokens=pb.TokenIds(ids=ids))
        ),
        st.integers(-5, 9).map(
            lambda role: pb.Prompt(chat=pb.ChatMessages(messages=[pb.ChatMessage(role=role)]))  # type: ignore[arg-type]
        ),
        st.just(pb.Prompt()),
    )
    numbers = st.floats(width=64) | st.just(1.0)
    sampling = st.fixed_dictionaries(
        {"max_tokens": st.integers(0, 4)},
        optional={
            "temperature": numbers,
            "top_p": numbers,
            "min_p": numbers,
            "repetition_penalty": numbers,
            "presence_penalty": numbers,
            "seed": st.integers(0, 2**64 - 1),
            "top_k": st.integers(0, 2**32 - 1),
            "logprobs": st.integers(0, 40),
            "prompt_logprobs": st.integers(0, 2**32 - 1),
            "stop": st.lists(st.text(max_size=4), max_size=6),
            "logit_bias": st.dictionaries(st.integers(0, 2**32 - 1), numbers, max_size=3),
            "json_schema": st.text(max_size=10),
            "regex": st.text(max_size=10),
        },
    ).map(_sampling)
    return st.builds(
        lambda model, prompts, sampling, n, language: inference_pb2.GenerateRequest(
            model=model, prompts=prompts, sampling=sampling, n=n, language=language
        ).SerializeToString(),
        st.just("") | st.text(max_size=8),
        st.lists(prompts, max_size=3),
        sampling,
        st.integers(0, 12),
        st.sampled_from(["", "fr", "en", "xx"]),
    )


def _sampling(fields: dict[str, Any]) -> pb.SamplingParams:
    if "json_schema" in fields:
        fields.pop("regex", None)
    return pb.SamplingParams(**fields)


def damaged() -> st.SearchStrategy[bytes]:
    """The same with some bytes replaced, and bytes that are nothing at all."""
    return st.binary(max_size=100) | st.builds(
        lambda body, at, piece: body[:at] + piece + body[at + len(piece) :],
        messages(),
        st.integers(0, 60),
        st.binary(min_size=1, max_size=4),
    )


@effort()
@given(
    path=st.sampled_from(["/generate", "/generate_stream", "/tokenize"]),
    body=messages() | damaged(),
)
def test_protobuf_bodies(target: Target, path: str, body: bytes) -> None:
    reply = target.http.post(path, content=body, headers=PROTOBUF)

    assert reply.status_code < 500, reply.text
    target.fine()


@pytest.fixture(scope="module")
def channel(target: Target) -> grpc.Channel:
    return grpc.insecure_channel(target.grpc)


_CLIENTS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}


@effort()
@given(
    method=st.sampled_from(["Generate", "GenerateStream", "Tokenize", "ListModels", "Nothing"]),
    body=messages() | damaged(),
)
def test_grpc_calls(target: Target, channel: grpc.Channel, method: str, body: bytes) -> None:
    call: Any = channel.unary_stream(f"/avikam.v1.InferenceService/{method}", None, None)

    try:
        list(call(body, timeout=30))
    except grpc.RpcError as error:
        status = error.code()
        assert status in _CLIENTS_FAULT, error
    target.fine()
