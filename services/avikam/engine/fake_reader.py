"""Text and end of a fake sequence: whole characters, stop strings, stop tokens, resume."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from avikam.engine.fake_text import TOKEN_BYTES, decode, join_bytes
from avikam.protocol.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Passage:
    """What some tokens make certain. ``stop_match`` is set when they end the sequence."""

    tokens: tuple[int, ...]
    text: str
    stopped: bool = False
    stop_match: str = ""


class SequenceReader:
    """Reads a sequence's tokens in order, in groups of any size.

    The joined text after each token is a function of the tokens so far, not of how they were
    grouped: a resumed sequence that reads its tokens again goes on exactly where the first left
    off. Before ``min_tokens`` nothing stops.
    """

    def __init__(self, sampling: SamplingParams) -> None:
        self._sampling = sampling
        self._text = _CertainText(sampling.stop)
        self._index = 0
        self._plain = not sampling.stop and not sampling.stop_token_ids

    def read(self, tokens: list[int]) -> Passage:
        """The text of ``tokens``, cut at the token that ends the sequence."""
        if self._plain:
            return Passage(tuple(tokens), self._text.push(join_bytes(tokens)))
        text = ""
        for count, token in enumerate(tokens, start=1):
            self._index += 1
            armed = self._index > self._sampling.min_tokens
            if armed and token in self._sampling.stop_token_ids:
                text += self._text.flush()
                return Passage(tuple(tokens[:count]), text, True, decode([token]))
            text += self._text.push(TOKEN_BYTES[token], armed=armed)
            if self._text.match:
                return Passage(tuple(tokens[:count]), text, True, self._text.match)
        return Passage(tuple(tokens), text)

    def flush(self) -> str:
        """What was held back, when the sequence ends for another reason than a stop."""
        return self._text.flush()


class _CertainText:
    """Whole characters, and never what may turn out to begin a stop string."""

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.match = ""

    def push(self, data: bytes, *, armed: bool = True) -> str:
        """Take one token's bytes (any number of tokens' when there are no stop strings)."""
        text = self._held + self._decoder.decode(data)
        if not self._stop or not armed:
            return text
        found = [(text.find(stop), stop) for stop in self._stop if stop in text]
        if found:
            position, self.match = min(found)
            self._held = ""
            return text[:position]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What is held back; half a character becomes U+FFFD."""
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
