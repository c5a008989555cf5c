"""What may go wrong, as exceptions: one class for each thing that a caller may do about it."""

from __future__ import annotations

from avikam.protocol.errors import ApiError


class AvikamError(Exception):
    """A request that was not served.

    ``status`` is HTTP's, over gRPC too; 0 when nothing answered. ``code`` and ``param`` are the
    error envelope's; ``request_id`` finds the request in the gateway's logs. ``retry_after`` is
    when the gateway wants to be asked again, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        param: str | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        known = [f"code {self.code}" if self.code else "", f"param {self.param}" * bool(self.param)]
        known.append(f"request {self.request_id}" if self.request_id else "")
        details = ", ".join(word for word in known if word)
        return f"{self.message} ({details})" if details else self.message


class ConnectionFailed(AvikamError):  # noqa: N818 - says what happened
    """Nothing answered, or the connection broke before the answer did."""


class InvalidRequest(AvikamError):  # noqa: N818
    """400, 405, 409, 413, 415: the request itself is wrong; ``param`` says where."""


class AuthenticationError(AvikamError):
    """401: no key, or a wrong one."""


class PermissionDenied(AvikamError):  # noqa: N818
    """403: the key may not do this."""


class NotFound(AvikamError):  # noqa: N818
    """404: no such model or route."""


class RateLimited(AvikamError):  # noqa: N818
    """429: more than this key may ask, or than there is room for; ``retry_after`` says when."""


class Unavailable(AvikamError):  # noqa: N818
    """502, 503: nobody could serve it now; it is safe to send again."""


class DeadlineExceeded(AvikamError):  # noqa: N818
    """408, 504, or the caller's own time-out."""


class ServerFailed(AvikamError):  # noqa: N818
    """Any other 5xx: the server's fault, and sending it again would not help."""


class StreamInterrupted(AvikamError):  # noqa: N818
    """A stream that began and cannot be finished. What came before it is right, but not whole."""


_CLASSES: dict[int, type[AvikamError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    408: DeadlineExceeded,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def error_of(error: ApiError, request_id: str) -> AvikamError:
    """The exception for an error that the gateway told."""
    kind = _CLASSES.get(error.status, ServerFailed if error.status >= 500 else InvalidRequest)
    return kind(
        error.message,
        status=error.status,
        code=error.code,
        param=error.param,
        request_id=request_id,
        retry_after=error.retry_after,
    )
