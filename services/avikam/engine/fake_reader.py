"""Text and end of a fake sequence: whole characters, stop strings and tokens, resume."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from avikam.engine import fake_text
from avikam.engine.detokenizer import Detokenizer
from avikam.protocol.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Passage:
    """What some tokens make certain. ``stop_match`` is set when they end the sequence."""

    tokens: tuple[int, ...]
    text: str
    stopped: bool = False
    stop_match: str = ""


class _Stream:
    """The fake vocabulary as the detokenizer sees it: every byte counts, wherever it stands."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        return self._decoder.decode(fake_text.TOKEN_BYTES[token])

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class PlainReader:
    """Reads a sequence that nothing ends early: all tokens of a step in one go."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, tokens: Sequence[int]) -> Passage:
        """The text of ``tokens``, as far as it is whole characters."""
        return Passage(tuple(tokens), self._decoder.decode(fake_text.join_bytes(tokens)))

    def flush(self) -> str:
        """What is left of a character."""
        return self._decoder.decode(b"", final=True)


class StoppingReader:
    """Reads a sequence token by token, with the real detokenizer, until one ends it."""

    def __init__(self, sampling: SamplingParams) -> None:
        self._detokenizer = Detokenizer(_Stream(), sampling.stop)
        self._ends = frozenset(sampling.stop_token_ids)
        self._min_tokens = sampling.min_tokens
        self._count = 0

    def read(self, tokens: Sequence[int]) -> Passage:
        """The text of ``tokens``, cut after the token that ends the sequence."""
        text = ""
        for count, token in enumerate(tokens, start=1):
            self._count += 1
            past_minimum = self._count >= self._min_tokens
            if token in self._ends and past_minimum:
                text += self.flush()
                return Passage(tuple(tokens[:count]), text, True, fake_text.decode([token]))
            text += self._detokenizer.feed(token, stops_count=past_minimum)
            if self._detokenizer.stop_match:
                return Passage(tuple(tokens[:count]), text, True, self._detokenizer.stop_match)
        return Passage(tuple(tokens), text)

    def flush(self) -> str:
        """What was held back, when the sequence ends for another reason than a stop."""
        return self._detokenizer.finish()


def reader_for(sampling: SamplingParams) -> PlainReader | StoppingReader:
    """The cheapest reader that honours the request."""
    stops = sampling.stop or sampling.stop_token_ids
    return StoppingReader(sampling) if stops else PlainReader()
