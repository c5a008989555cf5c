"""Why an attempt ended without an answer, and what that means for the next one.

    kind         the worker's application        next                       charged
    REFUSED      never saw it                    another worker, at once    no
    LOST         died, failed or was cut off     another worker, at once    no
    FULL         has no room                     one other, at once         no
    UNWELL       failed to serve it              another after a pause      yes
    UNSUPPORTED  does not know the call          a compatible worker        no

What the client did wrong is no failure of an attempt: it is raised as an ApiError.
"""

from __future__ import annotations

from enum import Enum
from typing import cast

import grpc

from avikam.gateway.errors import deadline_exceeded, upstream_unavailable
from avikam.protocol import rpc_errors
from avikam.protocol.errors import ENGINE_FAILED, ApiError, overloaded


class Kind(Enum):
    """See the module."""

    REFUSED = "refused"
    LOST = "lost"
    FULL = "full"
    UNWELL = "unwell"
    UNSUPPORTED = "unsupported"


class AttemptError(Exception):
    """One try of one sequence on one worker came to nothing.

    ``error`` is what the client gets if no other try does better; ``silent`` is whether the
    worker's engine gave no sign of life, which says more than a broken connection. ``fatal`` is
    whether the worker may have died of it: it knew the sequence, and then was gone.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        error: ApiError | None = None,
        silent: bool = False,
        fatal: bool = False,
    ) -> None:
        super().__init__(f"{kind.value}: {reason}")
        self.kind = kind
        self.error = error or upstream_unavailable()
        self.silent = silent
        self.fatal = fatal or silent


def diagnose(rpc: grpc.aio.AioRpcError) -> AttemptError | ApiError:
    """What a failed call of its own means; an ApiError is the client's answer."""
    details = rpc.details() or ""
    metadata = cast("rpc_errors.Trailers", rpc.trailing_metadata() or ())
    meant = rpc_errors.from_trailers(details, metadata)
    if meant is not None:
        return from_application(meant, accepted=False)
    match rpc.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return deadline_exceeded()
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return AttemptError(Kind.FULL, "exhausted", overloaded("Every worker is busy."))
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return upstream_unavailable()
        case code:
            return broken_call(code, accepted=False)


def from_application(meant: ApiError, accepted: bool) -> AttemptError | ApiError:
    """The worker said what is wrong."""
    match meant.status:
        case 429:
            return AttemptError(Kind.FULL, "queue is full", meant)
        case 503 | 499:
            # An engine that fails is as good as dead to all that it ran; one of them may be why.
            broke = meant.code == ENGINE_FAILED
            kind = Kind.LOST if accepted else Kind.REFUSED
            return AttemptError(kind, "its engine failed" if broke else "closing", fatal=broke)
        case 502:
            return AttemptError(Kind.UNWELL, "unavailable")
        case 501:
            return AttemptError(Kind.UNSUPPORTED, "not implemented")
        case 401 | 403:
            # The worker refuses the gateway: nothing the client could do better.
            return upstream_unavailable()
        case _:
            return meant


def broken_call(code: grpc.StatusCode, accepted: bool, told: bool = False) -> AttemptError:
    """The call that carried a sequence, perhaps among others, broke: no fault of the sequence.

    ``accepted`` is whether the worker's application had said anything of the sequence, ``told``
    whether it had been sent.
    """
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return AttemptError(Kind.UNSUPPORTED, "not implemented")
        case _ if accepted:
            return AttemptError(Kind.LOST, "connection lost", fatal=True)
        # Writing to a call that has just ended makes its status INTERNAL.
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED | grpc.StatusCode.INTERNAL:
            return AttemptError(Kind.REFUSED, "connection lost", fatal=told)
        case _:
            return AttemptError(Kind.UNWELL, code.name.lower(), fatal=told)
