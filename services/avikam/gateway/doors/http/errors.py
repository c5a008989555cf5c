"""Errors as HTTP replies: OpenAI's envelope, or Anthropic's on its own routes."""

from __future__ import annotations

import math
from typing import Any

import orjson
from starlette.responses import Response

from avikam.protocol.errors import ApiError

ANTHROPIC_PREFIX = "/v1/messages"

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: ApiError, path: str, request_id: str) -> dict[str, Any]:
    """The envelope that clients of the path understand."""
    if not path.startswith(ANTHROPIC_PREFIX):
        return error.envelope()
    kind = _ANTHROPIC_TYPES.get(error.status)
    kind = kind or ("api_error" if error.status >= 500 else "invalid_request_error")
    body = {"type": kind, "message": error.message}
    return {"type": "error", "error": body, "request_id": request_id}


def error_response(error: ApiError, path: str, request_id: str) -> Response:
    """The reply; ``Retry-After`` in whole seconds where it makes sense to come back."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(math.ceil(error.retry_after), 1))
    body = orjson.dumps(error_body(error, path, request_id))
    return Response(body, error.status, headers, "application/json")
