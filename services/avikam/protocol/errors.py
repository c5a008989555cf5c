"""One error type from the validator to the client, in OpenAI's envelope.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

Messages name the offending value and the way out; they never hold prompts, keys, paths or hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ApiError(Exception):
    """An answer other than success. ``status`` is HTTP's; gRPC's code follows from it."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def type(self) -> str:
        """OpenAI's class of the error."""
        return _TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )

    def envelope(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def renamed(error: ApiError, names: Mapping[str, str]) -> ApiError:
    """The error with its field as the client calls it, by ``names`` from ours to theirs. A message
    that begins with the field begins with theirs."""
    ours = error.param or ""
    theirs = names.get(ours)
    if theirs is not None:
        if error.message.startswith(f"{ours} "):
            error.message = theirs + error.message[len(ours) :]
        error.param = theirs
    return error


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def invalid(message: str, param: str | None, code: str = "invalid_value") -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, message, code, param)


def context_overflow(limit: int, prompt: int, completion: int) -> ApiError:
    """400, in the words that clients recognise."""
    return ApiError(
        400,
        f"This model's maximum context length is {limit} tokens. However, you requested "
        f"{prompt + completion} tokens ({prompt} in the prompt, {completion} in the completion). "
        "Please reduce the length of the prompt or max_tokens.",
        "context_length_exceeded",
        "prompt",
    )


def text_overflow(characters: int, most: int, limit: int) -> ApiError:
    """400: so much text cannot be a prompt of ``limit`` tokens, whatever it says."""
    return ApiError(
        400,
        f"This model's maximum context length is {limit} tokens, and at most {most} characters are "
        f"read. However, your prompt has {characters}. Please reduce its length.",
        "context_length_exceeded",
        "prompt",
    )


def overloaded(message: str, retry_after: float = 1.0) -> ApiError:
    """429: the queue is full; the client may try again."""
    return ApiError(429, message, "overloaded", None, retry_after)


ENGINE_FAILED = "engine_failed"
HANDED_OVER = "migrate"


def engine_failed() -> ApiError:
    """503: a step of the worker's engine failed with all that it computed."""
    return ApiError(
        503, "The worker's engine failed; continue on another one.", ENGINE_FAILED, None, 1.0
    )


def unavailable(message: str, code: str = "unavailable", retry_after: float = 1.0) -> ApiError:
    """503: no worker can take the request now."""
    return ApiError(503, message, code, None, retry_after)
