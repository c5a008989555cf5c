"""One error, the same through the HTTP envelope and across gRPC."""

from __future__ import annotations

import grpc
import pytest

from avikam.protocol.errors import (
    ApiError,
    context_overflow,
    invalid,
    overloaded,
    unavailable,
)
from avikam.protocol.rpc_errors import from_trailers, status_code, trailers


def test_the_envelope_is_openais() -> None:
    assert invalid("temperature is 9", "temperature").envelope() == {
        "error": {
            "message": "temperature is 9",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_value",
        }
    }


def test_a_context_overflow_speaks_the_words_that_clients_recognise() -> None:
    error = context_overflow(limit=2048, prompt=2040, completion=50)
    assert error.message.startswith("This model's maximum context length is 2048 tokens.")
    assert "2090 tokens (2040 in the prompt, 50 in the completion)" in error.message
    assert error.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    assert ApiError(status, "m", "c").type == kind


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (invalid("bad", "top_p"), grpc.StatusCode.INVALID_ARGUMENT),
        (overloaded("full", retry_after=2.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (unavailable("none"), grpc.StatusCode.UNAVAILABLE),
        (ApiError(404, "no such adapter", "model_not_found", "model"), grpc.StatusCode.NOT_FOUND),
        (ApiError(504, "late", "deadline"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (ApiError(500, "broken", "internal"), grpc.StatusCode.INTERNAL),
    ],
)
def test_an_error_survives_the_way_through_grpc(error: ApiError, code: grpc.StatusCode) -> None:
    assert status_code(error) is code
    assert from_trailers(error.message, trailers(error)) == error


def test_metadata_of_somebody_else_is_no_error_of_ours() -> None:
    assert from_trailers("m", [("grpc-status", "14")]) is None
    assert from_trailers("m", [("avikam-status", "many")]) is None
