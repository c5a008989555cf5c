"""Text to ids and back: SentencePiece (Kudo & Richardson 2018) with bytes for what it never saw.

Control tokens (chat roles, language tags) have ids but no text: no user text encodes to one.
Decoding is defined here, byte for byte, so that any split of a token list decodes to the same
text: ids -> bytes of each piece -> UTF-8 with U+FFFD for what is not UTF-8.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from avikam.model.vocabulary.protocol import TokenizerFacts
from avikam.model.vocabulary.spans import spans

BOS, EOS = "<s>", "</s>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
FRENCH, ENGLISH = "[FR]", "[EN]"
CONTROL_TOKENS = (SYSTEM, USER, ASSISTANT, FRENCH, ENGLISH)
ROLE_TOKENS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
LANGUAGE_TOKENS = {"fr": FRENCH, "en": ENGLISH}

_QUOTES = dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\u2032", "'") | dict.fromkeys(
    "\u201c\u201d", '"'
)
_HYPHENS = dict.fromkeys("\u2010\u2011", "-")
_SPACES = {"\t": " ", "\u2028": "\n", "\u2029": "\n"}
_ZERO_WIDTH = "\u00ad\u200b\u200c\u2060\ufeff"
"""Soft hyphen, spaces of no width, byte order mark. The joiner stays: it holds emoji together."""
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_UNSEEN = dict.fromkeys(_ZERO_WIDTH + _DIRECTIONS, "")
_TYPOGRAPHY = str.maketrans(_QUOTES | _HYPHENS | _SPACES | _UNSEEN)
_WORD_SPACE = "\u2581"


def normalize(text: str) -> str:
    """The form the model was trained on; doing it twice changes nothing.

    NFKC, straight quotes, plain hyphens and spaces, ``\\n`` line ends. What nobody sees (soft
    hyphens, zero-width characters, direction marks) is dropped, so that a text copied from a web
    page gives the tokens of the same text typed.

    >>> normalize("rendez\u2011vous\u00a0? J\u02bcai dit bon\u00adjour")
    "rendez-vous ? J'ai dit bonjour"
    """
    # Twice: NFKC takes some characters apart into ones the table knows (a double prime into two).
    text = unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)).translate(_TYPOGRAPHY)
    return text.replace("\r\n", "\n").replace("\r", "\n")


class TokenizerError(ValueError):
    """A tokenizer file that cannot be used, or ids outside the vocabulary."""


class Tokenizer:
    """One SentencePiece model plus Avikam's control tokens."""

    languages = tuple(LANGUAGE_TOKENS)

    def __init__(self, path: Path) -> None:
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise TokenizerError(f"{path} is not a SentencePiece model: {error}") from error
        missing = [t for t in CONTROL_TOKENS if self._pieces.piece_to_id(t) == 0]
        if missing:
            raise TokenizerError(f"{path} lacks the control token {missing[0]}")
        self.vocab_size: int = self._pieces.vocab_size()
        self.bos_id: int = self._pieces.bos_id()
        self.eos_id: int = self._pieces.eos_id()

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens that end an answer: one."""
        return frozenset((self.eos_id,))

    def token_id(self, piece: str) -> int:
        """Id of a piece such as ``<|user|>``."""
        return int(self._pieces.piece_to_id(piece))

    def piece(self, token: int) -> str:
        """The vocabulary entry of an id, e.g. ``▁Bonjour`` or ``<0xC3>``."""
        return str(self._pieces.id_to_piece(token))

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids that never stand for text."""
        return frozenset(i for i in range(self.vocab_size) if self._pieces.is_control(i))

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes each id stands for; control tokens stand for none."""
        return tuple(self._bytes_of(i) for i in range(self.vocab_size))

    def _bytes_of(self, token: int) -> bytes:
        if self._pieces.is_control(token):
            return b""
        if self._pieces.is_byte(token):
            return bytes([int(self.piece(token)[3:-1], 16)])
        if self._pieces.is_unknown(token):
            return "\ufffd".encode()
        return self.piece(token).replace(_WORD_SPACE, " ").encode()

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; never a control token."""
        return list(self._pieces.encode(normalize(text)))

    def encode_prompt(self, text: str, language: str | None = None) -> list[int]:
        """A document to continue: ``<s>`` [language tag] text."""
        tag = [self.token_id(LANGUAGE_TOKENS[language])] if language else []
        return [self.bos_id, *tag, *self.encode(text)]

    def encode_chat(self, messages: Iterable[tuple[str, str]], answer: bool = True) -> list[int]:
        """Turns of (role, content) as ``<s>`` (role text ``</s>``)*, ready for the answer."""
        ids = [self.bos_id]
        for role, content in messages:
            ids += [self.token_id(ROLE_TOKENS[role]), *self.encode(content), self.eos_id]
        return [*ids, self.token_id(ASSISTANT)] if answer else ids

    def exact_ids(self, text: str) -> list[int]:
        """Ids whose bytes are exactly ``text``: without the space that begins a text."""
        line_break = self.encode("\n")
        return self.encode("\n" + text)[len(line_break) :]

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        """(id, start, stop) of each token, in characters of ``text`` before it is normalised."""
        ids = self.encode_prompt(text) if framed else self.encode(text)
        surfaces = [None if self._pieces.is_control(i) else self.token_bytes[i] for i in ids]
        found = zip(ids, spans(text, surfaces), strict=True)
        return [(token, start, stop) for token, (start, stop) in found]

    def stream(self, after: int | None, *, verbatim: bool = False) -> _Stream:
        """Text of the tokens that follow ``after``, as they come."""
        fresh = (after is None or self.starts_turn(after)) and not verbatim
        return _Stream(self, fresh)

    def facts(self) -> TokenizerFacts:
        """What ``/tokenizer_info`` tells."""
        return TokenizerFacts("SentencePieceTokenizer", BOS, EOS, (self.eos_id,), True, "")

    def starts_turn(self, token: int) -> bool:
        """Whether text after ``token`` starts afresh, so that its leading space is dropped."""
        return token in self.control_ids

    def decode(self, tokens: Sequence[int], *, after: int | None = None) -> str:
        """Text of ids. ``after`` is the token before them; none means the start of a text."""
        wrong = next((token for token in tokens if not 0 <= token < self.vocab_size), None)
        if wrong is not None:
            raise TokenizerError(f"token id {wrong} is outside 0..{self.vocab_size - 1}")
        stream = self.stream(after)
        return "".join([*map(stream.feed, tokens), stream.finish()])


class _Stream:
    """Text as tokens come; ``fresh`` drops the space that begins a turn."""

    def __init__(self, tokenizer: Tokenizer, fresh: bool) -> None:
        self._bytes = tokenizer.token_bytes
        self._starts_turn = tokenizer.starts_turn
        self._fresh = fresh
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        piece = self._bytes[token]
        if self._fresh and piece.startswith(b" "):
            piece = piece[1:]
        self._fresh = self._starts_turn(token)
        return self._decoder.decode(piece)

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)
