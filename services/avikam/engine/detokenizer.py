"""Text while tokens come: never half a character, never the beginning of a stop string.

What has been emitted after a list of tokens depends on nothing but that list (and the stop
strings). So joined deltas equal the full text for every split, and a worker that takes over
in mid-stream knows exactly what the client has already read.
"""

from __future__ import annotations

from avikam.model.vocabulary.protocol import TextStream


class Detokenizer:
    """Incremental text of one sequence, from the ``stream`` of its tokenizer."""

    def __init__(self, stream: TextStream, stops: tuple[str, ...] = ()) -> None:
        self._stream = stream
        self._stops = stops
        self._held = ""
        self.stop_match = ""

    def feed(self, token: int, *, stops_count: bool = True) -> str:
        """Text that became certain with ``token``; sets ``stop_match`` when a stop string came.

        With ``stops_count`` off (before min_tokens) stop strings pass as text.
        """
        return self._release(self._stream.feed(token), stops_count)

    def finish(self, *, stops_count: bool = True) -> str:
        """What was still held back; bytes that never became a character are U+FFFD.

        A stop string may be found in it, too: then what comes before it is the end.
        """
        text = self._release(self._stream.finish(), stops_count)
        if not self.stop_match:
            text += self._held
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
