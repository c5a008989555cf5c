"""A ``tokenizer.json`` through the ``tokenizers`` library, with the model's own chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer as Library

from avikam.model.tokenizer import TokenizerError
from avikam.model.vocabulary.chat_template import (
    ChatTemplate,
    TemplateRefusalError,
    Written,
    pattern_of,
)
from avikam.model.vocabulary.decoder import (
    ByteStream,
    StepStream,
    byte_level_bytes,
    byte_of,
    is_byte_level,
    steps_of,
)
from avikam.model.vocabulary.protocol import TextStream, TokenizerFacts, Turn
from avikam.model.vocabulary.words import TokenizerWords


class HfTokenizer:
    """``vocab_size`` is the model's: ids beyond the file's entries are never generated.

    ``words`` is what :mod:`avikam.model.vocabulary.words` keeps beside the file.
    """

    languages: tuple[str, ...] = ()

    def __init__(self, data: bytes, words: TokenizerWords, vocab_size: int) -> None:
        document = _document(data)
        self._words = words
        # One takes special tokens in a text for text, the other finds them: a template's.
        self._plain, self._spoken = _library(data), _library(data)
        self._plain.encode_special_tokens = True
        self.vocab_size = vocab_size
        entries = self._plain.get_vocab_size(with_added_tokens=True)
        highest = max(self._plain.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= vocab_size:
            raise TokenizerError(
                f"the tokenizer has {entries} entries up to id {highest}, the model {vocab_size}"
            )
        added = document.get("added_tokens") or []
        self._special = {a["content"]: int(a["id"]) for a in added if a.get("special")}
        self._normalized = any(a.get("special") and a.get("normalized") for a in added)
        self._pattern = pattern_of(self._special)
        self._byte_level = is_byte_level(document.get("decoder"))
        self._makers = () if self._byte_level else steps_of(document.get("decoder"))
        self.eos_ids = frozenset(words.end_ids)
        self.bos_id = self._special.get(words.values.get("bos_token", ""))
        self._template = self._chat_template()

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Special tokens, and ids without an entry."""
        unused = (i for i in range(self.vocab_size) if self._plain.id_to_token(i) is None)
        return frozenset((*self._special.values(), *unused, *self.eos_ids))

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        return tuple(self._bytes_of(token) for token in range(self.vocab_size))

    def piece(self, token: int) -> str:
        return self._plain.id_to_token(token) or ""

    def encode(self, text: str) -> list[int]:
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, text: str, language: str | None = None) -> list[int]:
        return [token for token, _, _ in self.spans(text, framed=True)]

    def encode_chat(self, messages: Sequence[Turn]) -> list[int]:
        if self._template is None:
            raise TemplateRefusalError("the model has no chat template; send a prompt instead")
        turns = [{"role": role, "content": content} for role, content in messages]
        written = self._template.write(turns)
        if written.stand_ins or self._forged(content for _, content in messages):
            return self._encode_apart(written)
        return list(self._spoken.encode(written.text, add_special_tokens=False).ids)

    def exact_ids(self, text: str) -> list[int]:
        if self._byte_level:
            return self.encode(text)
        line_break = self.encode("\n")
        return self.encode("\n" + text)[len(line_break) :]

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        encoding = self._plain.encode(text, add_special_tokens=framed)
        found = [
            (token, start, stop)
            for token, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        return self._begun(found) if framed else found

    def decode(self, tokens: Sequence[int]) -> str:
        outside = [token for token in tokens if not 0 <= token < self.vocab_size]
        if outside:
            raise TokenizerError(f"token id {outside[0]} is outside 0..{self.vocab_size - 1}")
        stream = self.stream(None)
        return "".join([*map(stream.feed, tokens), stream.finish()])

    def stream(self, after: int | None, *, verbatim: bool = False) -> TextStream:
        if self._byte_level:
            return _Bytes(self.token_bytes)
        begins = not verbatim and (after is None or after in self.control_ids)
        return _Pieces(self, StepStream(self._makers, begins))

    def shown(self, token: int) -> str | None:
        """The piece of a token that has text; none for a control token."""
        return None if token in self.control_ids else self.piece(token)

    def facts(self) -> TokenizerFacts:
        framed = self.spans("a", framed=True)
        return TokenizerFacts(
            kind="PreTrainedTokenizerFast",
            begin=self._words.values.get("bos_token", ""),
            end=self._words.values.get("eos_token", ""),
            ends=tuple(sorted(self.eos_ids)),
            adds_begin=bool(framed) and framed[0][0] == self.bos_id,
            chat_template=self._words.chat_template,
        )

    def _chat_template(self) -> ChatTemplate | None:
        if not self._words.chat_template:
            return None
        try:
            return ChatTemplate(self._words.chat_template, self._special, self._words.values)
        except ValueError as error:
            raise TokenizerError(str(error)) from error

    def _bytes_of(self, token: int) -> bytes:
        piece = self.shown(token)
        if piece is None:
            return b""
        if self._byte_level:
            return byte_level_bytes(piece)
        byte = byte_of(piece)
        if byte is not None:
            return bytes([byte])
        stream = StepStream(self._makers, False)
        return (stream.feed(piece) + stream.finish()).encode()

    def _begun(self, found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """With the one begin token that the model's words ask for, or forbid."""
        if self._words.adds_begin is None or self.bos_id is None:
            return found
        begins = bool(found) and found[0][0] == self.bos_id
        if begins == self._words.adds_begin:
            return found
        return found[1:] if begins else [(self.bos_id, 0, 0), *found]

    def _forged(self, texts: Any) -> bool:
        """Whether normalising would make a special token of what a user wrote."""
        if not self._normalized:
            return False
        special = set(self._special.values())
        return any(
            special & set(self._spoken.encode(text, add_special_tokens=False).ids) for text in texts
        )

    def _encode_apart(self, written: Written) -> list[int]:
        """Control tokens where the template wrote them; what is between them is text."""
        ids: list[int] = []
        at = 0
        for match in self._pattern.finditer(written.text) if self._pattern else ():
            ids += self._said(written, written.text[at : match.start()])
            ids.append(self._special[match[0]])
            at = match.end()
        return ids + self._said(written, written.text[at:])

    def _said(self, written: Written, text: str) -> list[int]:
        text = "".join(written.stand_ins.get(character, character) for character in text)
        return self.encode(text) if text else []


class _Bytes:
    """Text of byte-level tokens."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._stream = ByteStream()

    def feed(self, token: int) -> str:
        return self._stream.feed(self._token_bytes[token])

    def finish(self) -> str:
        return self._stream.finish()


class _Pieces:
    """Text of pieces; control tokens have none."""

    def __init__(self, tokenizer: HfTokenizer, stream: StepStream) -> None:
        self._tokenizer = tokenizer
        self._stream = stream

    def feed(self, token: int) -> str:
        piece = self._tokenizer.shown(token)
        return "" if piece is None else self._stream.feed(piece)

    def finish(self) -> str:
        return self._stream.finish()


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"tokenizer.json is not JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise TokenizerError("tokenizer.json must hold an object")
    return document


def _library(data: bytes) -> Library:
    try:
        tokenizer = Library.from_buffer(data)
    except Exception as error:  # the library raises its base class alone
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise TokenizerError(f"tokenizer.json cannot be read: {reason}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
