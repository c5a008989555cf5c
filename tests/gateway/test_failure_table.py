"""What a failure means is told once: the kinds, whom each counts against, and who may try again."""

from __future__ import annotations

import random

import grpc
import pytest

from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.sequence.failure import MEANING, Again, Blame, Failure, Kind, of_ending
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.sequence.recovery import Recovery, RecoveryRules
from avikam.gateway.workers.ending import LineEnded
from avikam.protocol.errors import ENGINE_FAILED, HANDED_OVER, ApiError
from avikam.v1 import worker_pb2
from tests.gateway.clock import Clock
from tests.gateway.failures_page import HEAD, PAGE, rows

# What a request causes by what it asks for, or by the time it has: nobody else's business.
OF_THE_REQUEST = {
    Kind.ASKED,
    Kind.UNCOMPUTABLE,
    Kind.QUARANTINED,
    Kind.DEADLINE,
    Kind.NO_WORKER,
    Kind.STRANDED,
}
# What says nothing bad of anybody.
NOBODYS = {Kind.FULL, Kind.HANDED_OVER}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_meaning_and_what_a_request_causes_counts_against_nobody(
    kind: Kind,
) -> None:
    meaning = MEANING[kind]

    if kind in OF_THE_REQUEST:
        assert meaning.again is Again.NO
    if kind in OF_THE_REQUEST | NOBODYS:
        assert meaning.worker is Blame.NOTHING
        assert not any((meaning.pool, meaning.suspect, meaning.lost))


SAID = [
    (400, "invalid_value", Kind.ASKED),
    (404, "unknown_adapter", Kind.ASKED),
    (413, "too_large", Kind.ASKED),
    (429, "overloaded", Kind.FULL),
    (401, "no_key", Kind.BARRED),
    (403, "no_scope", Kind.BARRED),
    (499, "abandoned", Kind.REFUSED),
    (500, "internal_error", Kind.INTERNAL),
    (501, "unsupported", Kind.UNSUPPORTED),
    (502, "unavailable", Kind.UNWELL),
    (503, "draining", Kind.REFUSED),
    (503, ENGINE_FAILED, Kind.ENGINE_FAILED),
    (503, HANDED_OVER, Kind.HANDED_OVER),
    (504, "deadline_exceeded", Kind.DEADLINE),
    (507, "storage", Kind.INTERNAL),
    *((status, "lie", Kind.UNTRUE) for status in (1, 100, 199, 200, 204, 304, 399, 600, 777)),
]


@pytest.mark.parametrize(("status", "code", "kind"), SAID)
def test_what_a_worker_says_has_one_kind(status: int, code: str, kind: Kind) -> None:
    failure = of_ending(LineEnded(error=ApiError(status, "text", code)))

    assert failure.kind is kind
    assert failure.error.status >= 400


def test_what_is_wrong_between_gateway_and_worker_is_not_the_clients_to_know() -> None:
    for status in (401, 403, 501, 502, 503):
        told = of_ending(LineEnded(error=ApiError(status, "our secret", "secret"))).error
        assert (told.status, told.code) == (502, "upstream_unavailable")
        assert "secret" not in told.message
    long = of_ending(LineEnded(error=ApiError(400, "x" * 100_000, "invalid_value"))).error
    assert len(long.message) < 5000


BROKEN = [
    (grpc.StatusCode.UNAVAILABLE, False, False, Kind.REFUSED),
    (grpc.StatusCode.UNAVAILABLE, False, True, Kind.VANISHED),
    (grpc.StatusCode.UNAVAILABLE, True, True, Kind.LOST),
    (grpc.StatusCode.INTERNAL, True, True, Kind.LOST),
    (grpc.StatusCode.DATA_LOSS, False, True, Kind.UNWELL),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, False, True, Kind.UNWELL),
    (grpc.StatusCode.UNIMPLEMENTED, False, True, Kind.UNSUPPORTED),
    (grpc.StatusCode.UNAUTHENTICATED, False, True, Kind.BARRED),
    (grpc.StatusCode.PERMISSION_DENIED, False, False, Kind.BARRED),
]


@pytest.mark.parametrize(("code", "accepted", "sent", "kind"), BROKEN)
def test_how_a_call_broke_has_one_kind(
    code: grpc.StatusCode, accepted: bool, sent: bool, kind: Kind
) -> None:
    assert of_ending(LineEnded(code=code, accepted=accepted, sent=sent)).kind is kind


class Pool:
    """A recovery with its budget, on a clock that tests turn."""

    def __init__(self, half_died: bool = False) -> None:
        self.clock = Clock()
        self.budget = RetryBudget(self.clock)
        rules = RecoveryRules(jitter=0.0)
        self.recovery = Recovery(
            rules, self.budget, lambda: half_died, self.clock, random.Random(1)
        )

    def pauses(self, kind: Kind, journal: Journal, seconds: float = 100.0) -> list[float]:
        """The pauses until a sequence that always fails so may not go on."""
        deadline, taken = self.clock.now + seconds, []
        while (after := self.recovery.after(Failure(kind, "x"), journal, deadline)) is not None:
            journal.attempt += 1
            taken.append(after)
            self.clock.now += after
        return taken


def journal(*tokens: int) -> Journal:
    """A sequence that has come so far."""
    begun = Journal(worker_pb2.SequenceRequest())
    begun.tokens.extend(tokens)
    return begun


@pytest.mark.parametrize(
    ("kind", "fresh", "begun"),
    [
        (Kind.REFUSED, [0.0] * 16, [0.0] * 16),
        (Kind.FULL, [0.0], [0.5] * 16),
        (Kind.LOST, [0.0] * 16, [0.0] * 3),
        (Kind.SILENT, [0.0] * 16, [0.0] * 3),
        (Kind.UNTRUE, [0.0] * 16, [0.0] * 3),
        (Kind.UNWELL, [0.5] * 3, [0.5] * 3),
        (Kind.INTERNAL, [0.0], [0.0] * 3),
        (Kind.BARRED, [0.0] * 3, [0.0] * 3),
        *((kind, [], []) for kind in OF_THE_REQUEST),
    ],
)
def test_who_may_go_on_and_how_often(kind: Kind, fresh: list[float], begun: list[float]) -> None:
    assert Pool().pauses(kind, journal()) == fresh
    assert Pool().pauses(kind, journal(1, 2)) == begun


def test_the_loss_of_most_of_the_pool_is_charged_to_what_has_not_begun() -> None:
    assert Pool(half_died=True).pauses(Kind.LOST, journal()) == [0.0] * 3
    assert Pool(half_died=True).pauses(Kind.LOST, journal(1)) == [0.0] * 3
    pool = Pool(half_died=True)
    for _ in range(9):
        pool.pauses(Kind.LOST, journal())
    assert pool.pauses(Kind.LOST, journal()) == [], "the budget is spent"
    assert pool.pauses(Kind.LOST, journal(1)) == [0.0] * 3, "what has begun is not charged"


def test_there_is_no_try_that_the_deadline_leaves_no_time_for() -> None:
    assert Pool().pauses(Kind.UNWELL, journal(), seconds=1.2) == [0.5, 0.5]


def test_the_page_for_operators_says_the_same_as_the_table() -> None:
    page = PAGE.read_text().splitlines()
    first = page.index(HEAD) + 2

    assert page[first : first + len(Kind)] == rows()
    for kind in Kind:
        assert any(line.startswith(f"| `{kind.value}` | ") for line in page[first + len(Kind) :])
