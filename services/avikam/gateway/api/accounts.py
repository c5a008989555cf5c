"""Usage, timings and finish reasons of an answer, in JSON's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avikam.gateway.sequence.journal import Journal
from avikam.v1 import generation_pb2 as pb

FINISH_REASONS = {
    pb.FINISH_REASON_STOP: "stop",
    pb.FINISH_REASON_LENGTH: "length",
}


def finish_reason(journal: Journal) -> str | None:
    """``stop`` or ``length``; None while it runs."""
    return FINISH_REASONS[journal.finish.reason] if journal.finish is not None else None


def prompt_tokens(journals: Sequence[Journal]) -> int:
    """Tokens of all prompts; the n answers to one prompt share it."""
    firsts = (journal for journal in journals if journal.choice == 0)
    return sum(j.accepted.prompt_tokens for j in firsts if j.accepted is not None)


def completion_tokens(journals: Sequence[Journal]) -> int:
    """Tokens generated for all answers."""
    return sum(journal.count for journal in journals)


def cached_tokens(journals: Sequence[Journal]) -> int:
    """Prompt tokens whose keys and values came from a cache."""
    firsts = (journal for journal in journals if journal.choice == 0)
    return sum(j.finish.timings.cached_tokens for j in firsts if j.finish is not None)


def usage(journals: Sequence[Journal]) -> dict[str, Any]:
    """OpenAI's ``usage``."""
    prompt, completion = prompt_tokens(journals), completion_tokens(journals)
    return _usage(prompt, completion, cached_tokens(journals))


def _usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class UsageSoFar:
    """The usage of a stream, kept as its frames come.

    Counted anew for every chunk it would take the longer the more answers there are, and a request
    may have thousands.
    """

    def __init__(self) -> None:
        self._prompt = self._completion = self._cached = 0
        self._begun: set[int] = set()

    def add(self, journal: Journal, tokens: int) -> None:
        """A frame with so many tokens came."""
        self._completion += tokens
        if journal.choice == 0 and journal.accepted is not None:
            if journal.prompt_index not in self._begun:
                self._begun.add(journal.prompt_index)
                self._prompt += journal.accepted.prompt_tokens
            if journal.finish is not None:
                self._cached += journal.finish.timings.cached_tokens

    def usage(self) -> dict[str, Any]:
        """OpenAI's ``usage``."""
        return _usage(self._prompt, self._completion, self._cached)


def timings(journals: Sequence[Journal], elapsed: float) -> dict[str, float]:
    """Milliseconds of the slowest sequence, and the rate of all together.

    ``elapsed`` is the request's own time in seconds; what the engine did not see of it (transport,
    waiting in the gateway, an attempt that was lost) is in ``total_ms`` alone.
    """
    finished = [journal.finish.timings for journal in journals if journal.finish is not None]
    decode = max((t.decode_seconds for t in finished), default=0.0)
    tokens = completion_tokens(journals)
    return {
        "queue_ms": _ms(max((t.queue_seconds for t in finished), default=0.0)),
        "prefill_ms": _ms(max((t.prefill_seconds for t in finished), default=0.0)),
        "decode_ms": _ms(decode),
        "total_ms": _ms(elapsed),
        "tokens_per_second": round(tokens / decode, 2) if decode > 0 else 0.0,
    }


def server_timing(timings: dict[str, float]) -> str:
    """The same for browsers' and curl's eyes: a ``Server-Timing`` header."""
    phases = ("queue", "prefill", "decode", "total")
    return ", ".join(f"{phase};dur={timings[phase + '_ms']}" for phase in phases)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
