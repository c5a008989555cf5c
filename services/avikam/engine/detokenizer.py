"""Text while tokens come: never half a character, never the beginning of a stop string.

What has been emitted after a list of tokens depends on nothing but that list (and the stop
strings). So joined deltas equal the full text for every split, and a worker that takes over
in mid-stream knows exactly what the client has already read.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol


class TokenText(Protocol):
    """What the detokenizer needs to know of a vocabulary."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of each id, empty for control tokens; as long as the vocabulary."""

    def starts_turn(self, token: int) -> bool:
        """Whether an answer begins after this id, so that its first space is none of the text."""


class Detokenizer:
    """Incremental text of one sequence. ``after`` is the last token of its prompt.

    ``verbatim`` keeps the space that begins an answer: a grammar asked for it.
    """

    def __init__(
        self,
        vocabulary: TokenText,
        after: int,
        stops: tuple[str, ...] = (),
        *,
        verbatim: bool = False,
    ) -> None:
        self._bytes = vocabulary.token_bytes
        self._fresh = vocabulary.starts_turn(after) and not verbatim
        self._starts_turn = vocabulary.starts_turn
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = stops
        self._held = ""
        self.stop_match = ""

    def feed(self, token: int, *, stops_count: bool = True) -> str:
        """Text that became certain with ``token``; sets ``stop_match`` when a stop string came.

        With ``stops_count`` off (before min_tokens) stop strings pass as text.
        """
        piece = self._bytes[token]
        if self._fresh and piece.startswith(b" "):
            piece = piece[1:]
        self._fresh = self._starts_turn(token)
        return self._release(self._decoder.decode(piece), stops_count)

    def finish(self) -> str:
        """What was still held back; bytes that never became a character are U+FFFD."""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return text

    def _release(self, text: str, stops_count: bool) -> str:
        text = self._held + text
        if not stops_count or not self._stops:
            self._held = ""
            return text
        found = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if found:
            start, self.stop_match = min(found, key=lambda hit: (hit[0], -len(hit[1])))
            self._held = ""
            return text[:start]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a beginning of ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
