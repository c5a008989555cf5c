"""The decoder of a ``tokenizer.json``, step by step, on tokens that come one at a time.

    pieces  --steps on pieces-->  texts  --Fuse-->  one text  --steps on text-->  what is shown
            Replace, ByteFallback,                            Strip, Replace
            Metaspace, Strip

A step may rewrite across pieces (a run of bytes is a character only when the run is over; Lucie's
takes the space after an apostrophe away), so each holds back just what a later piece could change.
Everything joined is what the ``tokenizers`` library decodes from the whole list.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

_SPACE = "\u2581"


class DecoderError(ValueError):
    """A decoder that is not known; the message names the step."""


class Step(Protocol):
    """Texts in, texts out; what is uncertain stays inside until more comes or the end does."""

    def feed(self, texts: list[str]) -> list[str]: ...

    def finish(self) -> list[str]: ...


MakeStep = Callable[[bool], Step]
"""Makes a step for one stream; the argument says whether the stream begins a text."""


class _Each:
    """A change of each text by itself."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change

    def feed(self, texts: list[str]) -> list[str]:
        return [self._change(text) for text in texts]

    def finish(self) -> list[str]:
        return []


class _Bytes:
    """Runs of ``<0xC3>`` pieces as characters: all of a run, or U+FFFD for each of its bytes."""

    def __init__(self) -> None:
        self._run = bytearray()

    def feed(self, texts: list[str]) -> list[str]:
        out: list[str] = []
        for text in texts:
            value = byte_of(text)
            if value is None:
                out += [*self.finish(), text]
            else:
                self._run.append(value)
        return out

    def finish(self) -> list[str]:
        if not self._run:
            return []
        run, self._run = bytes(self._run), bytearray()
        try:
            return [run.decode()]
        except UnicodeDecodeError:
            return ["\ufffd"] * len(run)


class _First:
    """A change of the first text alone, where the stream begins a text."""

    def __init__(
        self, first: Callable[[str], str], rest: Callable[[str], str], begins: bool
    ) -> None:
        self._first, self._rest, self._begins = first, rest, begins

    def feed(self, texts: list[str]) -> list[str]:
        if not texts or not self._begins:
            return [self._rest(text) for text in texts]
        self._begins = False
        return [self._first(texts[0]), *map(self._rest, texts[1:])]

    def finish(self) -> list[str]:
        return []


class _StripText:
    """Up to ``start`` leading and ``stop`` trailing ``content`` off the whole text."""

    def __init__(self, content: str, start: int, stop: int) -> None:
        self._content, self._start, self._stop = content, start, stop
        self._held = ""

    def feed(self, texts: list[str]) -> list[str]:
        text = self._held + "".join(texts)
        while self._start and text.startswith(self._content):
            text, self._start = text[len(self._content) :], self._start - 1
        if text:
            self._start = 0
        kept = text
        for _ in range(self._stop):
            kept = kept.removesuffix(self._content)
        self._held = text[len(kept) :]
        return [kept]

    def finish(self) -> list[str]:
        """What is held back would have been taken off."""
        return []


class _ReplaceText:
    """A string for another over the whole text, from left to right."""

    def __init__(self, pattern: str, content: str) -> None:
        self._pattern, self._content = pattern, content
        self._held = ""

    def feed(self, texts: list[str]) -> list[str]:
        *done, rest = (self._held + "".join(texts)).split(self._pattern)
        keep = _overlap(rest, self._pattern)
        self._held = rest[len(rest) - keep :]
        return [self._content.join([*done, rest[: len(rest) - keep]])]

    def finish(self) -> list[str]:
        return [self._held]


class _WholeText:
    """A change that may look anywhere: the text is given when it is whole."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change
        self._text = ""

    def feed(self, texts: list[str]) -> list[str]:
        self._text += "".join(texts)
        return []

    def finish(self) -> list[str]:
        return [self._change(self._text)]


class StepStream:
    """One stream of pieces through all steps."""

    def __init__(self, makers: Sequence[MakeStep], begins: bool) -> None:
        self._steps = [make(begins) for make in makers]

    def feed(self, piece: str) -> str:
        return self._through([piece], 0)

    def finish(self) -> str:
        text = ""
        for index, step in enumerate(self._steps):
            text += self._through(step.finish(), index + 1)
        return text

    def _through(self, texts: list[str], first: int) -> str:
        for step in self._steps[first:]:
            texts = step.feed(texts)
        return "".join(texts)


class ByteStream:
    """Bytes as UTF-8, with U+FFFD for what is not."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data)

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def is_byte_level(decoder: Mapping[str, Any] | None) -> bool:
    """Whether pieces spell bytes, and their bytes joined are the text."""
    steps = _flat(decoder)
    return len(steps) == 1 and steps[0].get("type") == "ByteLevel"


def steps_of(decoder: Mapping[str, Any] | None) -> tuple[MakeStep, ...]:
    """Makers of a decoder's steps. Raises :class:`DecoderError` for a step that is not known."""
    steps, makers, fused = _flat(decoder), [], False
    if not steps:
        raise DecoderError("tokenizer.json has no decoder")
    for step in steps:
        if step.get("type") == "Fuse":
            fused = True
            continue
        makers.append(_on_text(step) if fused else _on_pieces(step))
    return tuple(makers)


def _flat(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder.get("type") != "Sequence":
        return [decoder]
    return [inner for step in decoder.get("decoders", []) for inner in _flat(step)]


def _on_pieces(step: Mapping[str, Any]) -> MakeStep:
    kind = step.get("type")
    if kind == "ByteFallback":
        return lambda begins: _Bytes()
    if kind == "Replace":
        change = _replacement(step)
        return lambda begins: _Each(change)
    if kind == "Strip":
        content, start, stop = step["content"], step["start"], step["stop"]
        return lambda begins: _Each(lambda text: _stripped(text, content, start, stop))
    if kind == "Metaspace":
        return _metaspace(step)
    raise DecoderError(f"the decoder step {kind!r} of tokenizer.json is not known")


def _metaspace(step: Mapping[str, Any]) -> MakeStep:
    sign = step.get("replacement", _SPACE)
    drops = step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True)
    first: Callable[[str], str] = lambda text: text.replace(sign, "" if drops else " ")  # noqa: E731
    rest: Callable[[str], str] = lambda text: text.replace(sign, " ")  # noqa: E731
    return lambda begins: _First(first, rest, begins)


def _on_text(step: Mapping[str, Any]) -> MakeStep:
    kind = step.get("type")
    if kind == "Strip":
        content, start, stop = step["content"], step["start"], step["stop"]
        return lambda begins: _StripText(content, start if begins else 0, stop)
    if kind == "Replace":
        pattern = step["pattern"].get("String")
        if pattern:
            return lambda begins: _ReplaceText(pattern, step["content"])
        change = _replacement(step)
        return lambda begins: _WholeText(change)
    if kind == "Metaspace":
        return _metaspace(step)
    raise DecoderError(f"the decoder step {kind!r} of tokenizer.json is not known behind Fuse")


def _replacement(step: Mapping[str, Any]) -> Callable[[str], str]:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        return lambda text: text.replace(pattern["String"], content)
    from tokenizers import Regex, decoders

    library = decoders.Replace(Regex(pattern["Regex"]), content)
    return lambda text: library.decode([text])


def _stripped(text: str, content: str, start: int, stop: int) -> str:
    for _ in range(start):
        text = text.removeprefix(content)
    for _ in range(stop):
        text = text.removesuffix(content)
    return text


def _overlap(text: str, pattern: str) -> int:
    """Length of the longest end of ``text`` that is a beginning of ``pattern``."""
    for size in range(min(len(text), len(pattern) - 1), 0, -1):
        if text.endswith(pattern[:size]):
            return size
    return 0


def byte_of(piece: str) -> int | None:
    """The byte that a piece such as ``<0xC3>`` spells; none for any other piece."""
    if len(piece) != 6 or not piece.startswith("<0x") or not piece.endswith(">"):
        return None
    try:
        return int(piece[3:5], 16)
    except ValueError:
        return None


@cache
def byte_level_table() -> dict[str, int]:
    """GPT-2 writes each byte as a visible character: which byte is it?"""
    known = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in known]
    return {chr(b): b for b in known} | {chr(256 + i): b for i, b in enumerate(others)}


def byte_level_bytes(piece: str) -> bytes:
    """The bytes of a byte-level piece; an added token with other characters spells itself."""
    table = byte_level_table()
    try:
        return bytes([table[character] for character in piece])
    except KeyError:
        return piece.encode()
