"""An :class:`ApiError` across gRPC: status code, message, and trailing metadata for the rest.

code      mapped from the HTTP status
details   the message
trailers  avikam-status, avikam-code, avikam-param, avikam-retry-after
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from avikam.protocol.errors import ApiError

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Trailers = tuple[tuple[str, str], ...]


def status_code(error: ApiError) -> grpc.StatusCode:
    """gRPC's code of an error."""
    return code_of_status(error.status)


def code_of_status(status: int) -> grpc.StatusCode:
    """gRPC's code of an HTTP status that is an error; INTERNAL where it has no counterpart."""
    return _CODES.get(status, grpc.StatusCode.INTERNAL)


def trailers(error: ApiError) -> Trailers:
    """What the status code cannot say, as trailing metadata."""
    pairs = [("avikam-status", str(error.status)), ("avikam-code", error.code)]
    if error.param is not None:
        pairs.append(("avikam-param", error.param))
    if error.retry_after is not None:
        pairs.append(("avikam-retry-after", f"{error.retry_after:g}"))
    return tuple(pairs)


def from_trailers(message: str, metadata: Iterable[tuple[str, str | bytes]]) -> ApiError | None:
    """The error a worker raised on purpose; None when the metadata holds none."""
    fields = {key: value for key, value in metadata if isinstance(value, str)}
    try:
        status = int(fields["avikam-status"])
        retry_after = (
            float(fields["avikam-retry-after"]) if "avikam-retry-after" in fields else None
        )
    except (KeyError, ValueError):
        return None
    if not 400 <= status < 600:
        return None
    code = fields.get("avikam-code", "upstream_error")
    return ApiError(status, message, code, fields.get("avikam-param"), retry_after)
