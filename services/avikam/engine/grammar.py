"""Answers that must match a JSON schema or a regular expression: masks from llguidance.

A grammar is compiled once per text, before the sequence is queued, within the library's own
limits on size and fuel; each sequence then walks a copy of the compiled matcher.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import llguidance
import numpy as np
import torch
from torch import Tensor

from avikam.model.tokenizer import Tokenizer
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.sampling import SamplingParams

_KEPT = 64  # compiled grammars


class Grammar:
    """One sequence's walk through a grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._words = np.zeros((vocab_size + 31) // 32, dtype=np.int32)
        self._vocab_size = vocab_size

    def allowed(self) -> Tensor:
        """Which tokens may come next: bool [vocab]. End of text is among them when it may end."""
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little")
        return torch.from_numpy(bits[: self._vocab_size].astype(bool))

    def accept(self, tokens: Sequence[int]) -> None:
        """Walk on by tokens that were generated."""
        self._matcher.consume_tokens(list(tokens))

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self._matcher.is_stopped())


class GrammarCompiler:
    """Compiles what requests ask for and remembers the last few. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[str, str], llguidance.LLMatcher] = OrderedDict()

    def grammar(self, params: SamplingParams) -> Grammar | None:
        """The grammar that ``params`` ask for, at its start; none when they ask for none.

        Raises a 400 that names the construct which is wrong or not supported.
        """
        for kind, text in (("json_schema", params.json_schema), ("regex", params.regex)):
            if text is not None:
                matcher = self._matcher(kind, text)
                return Grammar(matcher.deep_copy(), self._tokenizer.vocab_size)
        return None

    def _matcher(self, kind: str, text: str) -> llguidance.LLMatcher:
        with self._lock:
            if (kind, text) in self._compiled:
                self._compiled.move_to_end((kind, text))
                return self._compiled[kind, text]
        matcher = llguidance.LLMatcher(self._vocabulary, _source(kind, text), log_level=0)
        if matcher.is_error():
            raise _refusal(kind, matcher.get_error())
        with self._lock:
            self._compiled[kind, text] = matcher
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return matcher

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Vocabulary(self._tokenizer)))


class _Vocabulary:
    """Our tokenizer in the form llguidance reads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.eos_id
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = sorted(tokenizer.control_ids)
        self.tokens = [
            tokenizer.piece(i).encode() if i in tokenizer.control_ids else piece
            for i, piece in enumerate(tokenizer.token_bytes)
        ]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        """Ids whose bytes are exactly ``text``: without the space that begins a text."""
        line_break = self._tokenizer.encode("\n")
        return self._tokenizer.encode("\n" + text)[len(line_break) :]


def _source(kind: str, text: str) -> str:
    if kind == "regex":
        return llguidance.LLMatcher.grammar_from_regex(text)
    try:
        # Free white space lets a small model indent for ever.
        return llguidance.LLMatcher.grammar_from_json_schema(
            text, defaults={"whitespace_flexible": False}
        )
    except ValueError as error:
        raise invalid(f"json_schema is not a JSON schema: {error}", "response_format") from error


def _refusal(kind: str, error: str) -> ApiError:
    return invalid(f"{kind} cannot be used: {error.splitlines()[0][:300]}", "response_format")
