"""What clients are told when a request cannot be answered: one constructor per error.

Messages say what happened and what to do; they never hold prompts, keys, paths or hosts.
"""

from __future__ import annotations

from avikam.protocol.errors import ApiError, unavailable


def upstream_unavailable() -> ApiError:
    """502: no worker could serve the request, within the tries it had."""
    return ApiError(
        502,
        "No worker could complete the request; it is safe to send it again.",
        "upstream_unavailable",
        None,
        1.0,
    )


def no_worker_ready() -> ApiError:
    """503: nobody could take the request within the time it may wait for a first worker."""
    return unavailable("No worker is ready; send it again later.", "no_worker_ready", 2.0)


def circuit_open(retry_after: float) -> ApiError:
    """503: too many requests failed lately; the pool gets time to recover."""
    return unavailable(
        "Too many requests failed in the last seconds; send it again later.",
        "circuit_open",
        retry_after,
    )


def stream_interrupted() -> ApiError:
    """502, as an event: an answer that has begun cannot be finished."""
    return ApiError(
        502,
        "The answer broke off and no worker could continue it; send the request again.",
        "stream_interrupted",
    )


def deadline_exceeded() -> ApiError:
    """504: the request's time is up."""
    return ApiError(
        504,
        "The request did not finish in time; ask for fewer tokens or more x-request-timeout-ms.",
        "deadline_exceeded",
    )


def model_changed() -> ApiError:
    """502, as an event: an answer that has begun, and no worker with its weights is left."""
    return ApiError(
        502,
        "The answer broke off: the workers that are left run another model or other weights, and "
        "an answer never changes them in its middle; send the request again.",
        "model_changed",
    )


def row_failed(reason: str) -> ApiError:
    """500: this sequence alone could not be computed; ``reason`` is the engine's."""
    return ApiError(500, f"This request could not be computed: {reason}.", "sequence_failed")


def request_quarantined() -> ApiError:
    """500: the request, not the service, is what fails; sending it again does not help."""
    return ApiError(
        500,
        "Workers died while they computed this request; it is refused for ten minutes. Change it.",
        "request_quarantined",
    )
