"""A failure of the gateway itself: logged without what the client sent, told without details."""

from __future__ import annotations

import logging
import traceback

from avikam.gateway.log_fields import log_fields
from avikam.gateway.traces import RequestTrace
from avikam.protocol.errors import ApiError

_log = logging.getLogger(__name__)


def log_failure(error: Exception, request_id: str, trace: RequestTrace | None) -> None:
    """Log where it happened and its type: the exception's own text may quote the request."""
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s\n%s", type(error).__name__, places, extra=log_fields(request_id, trace))


def internal_error() -> ApiError:
    """500 without a word about what happened: that is in the log, under the request id."""
    return ApiError(500, "The gateway failed on this request.", "internal_error")
