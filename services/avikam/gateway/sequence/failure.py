"""What went wrong under a sequence, and what that means: the one table that says so.

Whoever has to know (the run, which tries again or not; the recovery, which counts what that
costs; the breakers of worker and pool; the quarantine) reads it here. What a request causes by what
it asks for counts against nobody: one client could close the door on all others.

:func:`of_ending` and :func:`of_call` find the kind for what the transport saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType
from typing import cast

import grpc

from avikam.gateway.errors import deadline_exceeded, upstream_unavailable
from avikam.gateway.workers.ending import LineEnded
from avikam.protocol import rpc_errors
from avikam.protocol.errors import ENGINE_FAILED, HANDED_OVER, ApiError, overloaded


class Kind(Enum):
    """See :data:`MEANING`."""

    REFUSED = "refused"
    VANISHED = "vanished"
    FULL = "full"
    UNSUPPORTED = "unsupported"
    BARRED = "barred"
    HANDED_OVER = "handed_over"
    BROKE_OFF = "broke_off"
    LOST = "lost"
    SILENT = "silent"
    ENGINE_FAILED = "engine_failed"
    UNTRUE = "untrue"
    UNWELL = "unwell"
    INTERNAL = "internal"
    ASKED = "asked"
    UNCOMPUTABLE = "uncomputable"
    QUARANTINED = "quarantined"
    DEADLINE = "deadline"
    NO_WORKER = "no_worker"
    STRANDED = "stranded"


class Again(Enum):
    """Whether another try may do better."""

    NO = "no"
    # On one other worker; an answer that has begun goes on as often as it may resume.
    ONCE = "once"
    YES = "yes"


class When(Enum):
    """When the pause before the next try is made, or the retry budget charged."""

    NEVER = "never"
    # For an answer that has begun.
    BEGUN = "begun"
    # For one that has not, while more than half of the pool was lost in the last seconds.
    MANY_LOST = "many_lost"
    ALWAYS = "always"


class Blame(Enum):
    """What a failure is to its worker's breaker."""

    NOTHING = "nothing"
    FAILURE = "failure"
    # A failure once another worker could do it: else the request itself may be why.
    IF_OTHERS_CAN = "if_others_can"
    # It opens at once.
    OPENS = "opens"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A row of the table.

    ``ran`` is whether the worker had the sequence, so that going on uses up one of its resumes;
    ``lost`` whether the worker counts among those that the pool lost lately; ``suspect`` whether
    the sequence may be why; ``pool`` whether it is a failure to the pool's breaker when it is what
    the client is told.
    """

    again: Again = Again.NO
    pause: When = When.NEVER
    charged: When = When.NEVER
    worker: Blame = Blame.NOTHING
    ran: bool = False
    lost: bool = False
    suspect: bool = False
    pool: bool = False


# fmt: off
MEANING: Mapping[Kind, Meaning] = MappingProxyType({
    # The worker never saw it: no connection, or it is closing.
    Kind.REFUSED: Meaning(
        Again.YES, worker=Blame.FAILURE, pool=True),
    # It was sent it, and was gone without a word of it.
    Kind.VANISHED: Meaning(
        Again.YES, worker=Blame.FAILURE, suspect=True, pool=True),
    # It has no room.
    Kind.FULL: Meaning(
        Again.ONCE, pause=When.BEGUN),
    # It does not know the call: another version.
    Kind.UNSUPPORTED: Meaning(
        Again.YES, pool=True),
    # It does not let this gateway in.
    Kind.BARRED: Meaning(
        Again.YES, charged=When.ALWAYS, worker=Blame.FAILURE, pool=True),
    # It stops, as it was told to, and leaves the rest to others.
    Kind.HANDED_OVER: Meaning(
        Again.YES, charged=When.MANY_LOST, ran=True),
    # It ended it without a finish, and lives.
    Kind.BROKE_OFF: Meaning(
        Again.YES, charged=When.MANY_LOST, worker=Blame.FAILURE, ran=True, lost=True, pool=True),
    # It was gone while it had it.
    Kind.LOST: Meaning(
        Again.YES, charged=When.MANY_LOST, worker=Blame.FAILURE, ran=True, lost=True,
        suspect=True, pool=True),
    # Its engine gave no sign of life: this says more than a broken connection.
    Kind.SILENT: Meaning(
        Again.YES, charged=When.MANY_LOST, worker=Blame.OPENS, ran=True, lost=True,
        suspect=True, pool=True),
    # A step of its engine failed with all that it ran.
    Kind.ENGINE_FAILED: Meaning(
        Again.YES, charged=When.MANY_LOST, worker=Blame.FAILURE, ran=True, lost=True,
        suspect=True, pool=True),
    # It said what cannot be: a gap, more tokens than asked for, a status that is no error ...
    Kind.UNTRUE: Meaning(
        Again.YES, charged=When.MANY_LOST, worker=Blame.FAILURE, ran=True, lost=True, pool=True),
    # It failed to serve it.
    Kind.UNWELL: Meaning(
        Again.YES, pause=When.ALWAYS, charged=When.ALWAYS, worker=Blame.FAILURE, ran=True,
        pool=True),
    # It made a mistake on it: a 500.
    Kind.INTERNAL: Meaning(
        Again.ONCE, charged=When.ALWAYS, worker=Blame.IF_OTHERS_CAN, ran=True),
    # The request asks for what cannot be had: too long, a grammar that cannot be used ...
    Kind.ASKED: Meaning(),
    # This sequence alone cannot be computed.
    Kind.UNCOMPUTABLE: Meaning(),
    # It is what workers died of.
    Kind.QUARANTINED: Meaning(),
    # Its time is up.
    Kind.DEADLINE: Meaning(),
    # Nobody could take it within the time it may wait.
    Kind.NO_WORKER: Meaning(),
    # Nobody has the weights that its answer began with.
    Kind.STRANDED: Meaning(),
})
# fmt: on


class Failure(Exception):  # noqa: N818 - the field's word
    """One try of one sequence came to nothing, or the sequence as a whole.

    ``error`` is what the client gets if nothing else does better.
    """

    def __init__(self, kind: Kind, reason: str, error: ApiError | None = None) -> None:
        super().__init__(f"{kind.value}: {reason}")
        self.kind = kind
        self.error = error or upstream_unavailable()

    @property
    def meaning(self) -> Meaning:
        """Its row of the table."""
        return MEANING[self.kind]


# What a worker's error is by its status; 4xx and 5xx beside these are the request's and its own.
_KINDS = {
    401: Kind.BARRED,
    403: Kind.BARRED,
    429: Kind.FULL,
    501: Kind.UNSUPPORTED,
    502: Kind.UNWELL,
    504: Kind.DEADLINE,
}
# What clients are told in the worker's own words.
_TOLD = (Kind.ASKED, Kind.FULL, Kind.DEADLINE, Kind.INTERNAL)
# The longest text of a worker's error that is passed on, in characters.
_MESSAGE_CHARS = 2000
# What HTTP has for errors, and the one of a client that left.
_ERRORS = frozenset(int(status) for status in HTTPStatus if status >= 400) | {499}


def deadline() -> Failure:
    """The time of the sequence is up."""
    return Failure(Kind.DEADLINE, "time is up", deadline_exceeded())


def untrue(what: str) -> Failure:
    """The worker said ``what``, which cannot be."""
    return Failure(Kind.UNTRUE, what)


def of_ending(ended: LineEnded) -> Failure:
    """What it means that a line ended without a finish."""
    if ended.error is not None:
        return _of_error(ended.error, ended.accepted)
    if ended.code is not None:
        return _of_broken_call(ended.code, ended.accepted, ended.sent)
    return Failure(Kind.BROKE_OFF, "ended without a finish")


def of_call(rpc: grpc.aio.AioRpcError) -> Failure:
    """What a failed call of its own means, which is not one of a sequence."""
    metadata = cast("rpc_errors.Trailers", rpc.trailing_metadata() or ())
    told = rpc_errors.from_trailers(rpc.details() or "", metadata)
    if told is not None:
        return _of_error(told, accepted=False)
    match rpc.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return deadline()
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Failure(Kind.FULL, "exhausted", overloaded("Every worker is busy."))
        case code:
            return _of_broken_call(code, accepted=False, sent=False)


def _of_error(error: ApiError, accepted: bool) -> Failure:
    """The worker's application said what is wrong."""
    if error.status not in _ERRORS:
        return untrue(f"an error with the status {error.status}")
    if error.status in (503, 499):
        return Failure(_unavailable(error.code, accepted), error.code)
    kind = _KINDS.get(error.status)
    if kind is None:
        kind = Kind.INTERNAL if error.status >= 500 else Kind.ASKED
    error.message = error.message[:_MESSAGE_CHARS]
    # What is wrong between gateway and worker is not the client's to know.
    return Failure(kind, error.code, error if kind in _TOLD else None)


def _unavailable(code: str, accepted: bool) -> Kind:
    """Why a worker does not serve a sequence, or no longer."""
    if code == ENGINE_FAILED:
        return Kind.ENGINE_FAILED
    if code == HANDED_OVER:
        return Kind.HANDED_OVER
    return Kind.BROKE_OFF if accepted else Kind.REFUSED


def _of_broken_call(code: grpc.StatusCode, accepted: bool, sent: bool) -> Failure:
    """The call broke that carried a sequence, perhaps among others."""
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return Failure(Kind.UNSUPPORTED, "not implemented")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Failure(Kind.BARRED, "it refuses the gateway")
        case _ if accepted:
            return Failure(Kind.LOST, "connection lost")
        # Writing to a call that has just ended makes its status INTERNAL.
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED | grpc.StatusCode.INTERNAL:
            return Failure(Kind.VANISHED if sent else Kind.REFUSED, "connection lost")
        case _:
            return Failure(Kind.UNWELL, code.name.lower())
