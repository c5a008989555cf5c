"""What the engine, the worker and grammars need of a tokenizer, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Turn = tuple[str, str]
"""(role, content)."""


class TextStream(Protocol):
    """Text of tokens as they come. What is given is final: no later token changes it."""

    def feed(self, token: int) -> str:
        """Text that became certain with ``token``."""

    def finish(self) -> str:
        """What was still held back."""


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What ``/tokenizer_info`` tells of a tokenizer; ``ends`` are all tokens that end an answer."""

    kind: str
    begin: str
    end: str
    ends: tuple[int, ...]
    adds_begin: bool
    chat_template: str


class ModelTokenizer(Protocol):
    """A vocabulary with its frames. No user text encodes to a control token."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def bos_id(self) -> int | None: ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends an answer."""

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that never stand for text, unused ones included."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that a prompt may be tagged with."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes each id stands for; control tokens stand for none."""

    def piece(self, token: int) -> str:
        """The vocabulary's entry of an id."""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text."""

    def encode_prompt(self, text: str, language: str | None = None) -> list[int]:
        """Ids of a document to continue, with its frame."""

    def encode_chat(self, messages: Sequence[Turn]) -> list[int]:
        """Ids of a conversation up to where the assistant answers.

        Raises :class:`~avikam.model.vocabulary.chat_template.TemplateRefusalError`.
        """

    def exact_ids(self, text: str) -> list[int]:
        """Ids whose bytes are exactly ``text``, wherever it stands in an answer."""

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        """(id, start, stop) of each token of ``text``, in characters; ``framed`` as a prompt is."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids from the start of a text."""

    def stream(self, after: int | None, *, verbatim: bool = False) -> TextStream:
        """Text of the tokens that follow ``after`` (none: the start of a text).

        ``verbatim`` keeps the space that begins an answer, for a grammar asked for it.
        """

    def facts(self) -> TokenizerFacts: ...
