"""The journal of a sequence: what came once is kept, in order, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.gateway.sequence.failure import Failure, Kind
from avikam.gateway.sequence.journal import Journal
from avikam.v1 import generation_pb2, worker_pb2


def frame(attempt: int, first: int, *tokens: int) -> worker_pb2.SequenceFrame:
    """A frame whose text names its tokens."""
    text = "".join(f"{token}," for token in tokens)
    return worker_pb2.SequenceFrame(attempt=attempt, first_index=first, token_ids=tokens, text=text)


def journal_in_attempt(number: int) -> Journal:
    """A journal whose sequence is at its n-th attempt."""
    journal = Journal(worker_pb2.SequenceRequest(request_id="a"))
    for _ in range(number):
        journal.next_request()
    return journal


def test_repeats_and_old_attempts_are_dropped() -> None:
    journal = journal_in_attempt(2)

    assert journal.keep(frame(2, 0, 5, 6))
    assert not journal.keep(frame(2, 0, 5, 6))
    assert not journal.keep(frame(2, 1, 6))
    assert not journal.keep(frame(1, 2, 9))
    assert journal.keep(frame(2, 2, 7))

    assert journal.tokens == [5, 6, 7]
    assert journal.whole_text == "5,6,7,"


@pytest.mark.parametrize("first", [1, 3, 100])
def test_a_gap_and_an_overlap_give_the_worker_up(first: int) -> None:
    journal = journal_in_attempt(1)
    journal.keep(frame(1, 0, 5, 6))

    with pytest.raises(Failure) as failure:
        journal.keep(frame(1, first, 7, 8, 9))

    assert failure.value.kind is Kind.UNTRUE
    assert journal.tokens == [5, 6]


def test_the_next_attempt_goes_on_with_the_same_noise() -> None:
    journal = journal_in_attempt(1)
    accepted = worker_pb2.Accepted(seed=77, prompt_tokens=3)
    journal.keep(worker_pb2.SequenceFrame(attempt=1, accepted=accepted))
    journal.keep(frame(1, 0, 5, 6))

    request = journal.next_request()

    assert list(request.generated) == [5, 6]
    assert request.sampling.seed == 77
    assert request.attempt == 2


FRAMES = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 30), st.integers(0, 5)), max_size=60)


@given(FRAMES)
def test_whatever_comes_the_journal_has_no_hole_and_no_repeat(
    frames: list[tuple[int, int, int]],
) -> None:
    journal = journal_in_attempt(1)
    for attempt, first, count in frames:
        try:
            journal.keep(frame(attempt, first, *range(first, first + count)))
        except Failure:
            journal.next_request()
        assert journal.tokens == list(range(len(journal.tokens)))
        assert journal.whole_text == "".join(f"{token}," for token in journal.tokens)


def test_a_stream_keeps_no_logprobs() -> None:
    frame = worker_pb2.SequenceFrame(
        attempt=1, token_ids=[5], text="a", logprobs=[generation_pb2.TokenLogprobs(rank=1)]
    )
    for keep in (True, False):
        journal = Journal(worker_pb2.SequenceRequest(), keep_logprobs=keep)
        journal.next_request()
        assert journal.keep(frame)
        assert len(journal.logprobs) == keep
        assert journal.tokens == [5]
