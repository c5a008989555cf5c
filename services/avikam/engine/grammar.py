"""Answers that must match a JSON schema or a regular expression: masks from llguidance.

A grammar is compiled once per text, before the sequence is queued; each sequence then walks a copy
of the compiled matcher. Both have their limits: compiling by the library's fuel, a walk by the time
that its masks take in the engine's thread, where all sequences wait for them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property

import llguidance
import numpy as np
import torch
from torch import Tensor

from avikam.model.vocabulary.protocol import ModelTokenizer
from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.sampling import SamplingParams

Clock = Callable[[], float]

_KEPT = 64  # compiled grammars
# An enumeration of 64 KiB needs half of the first; a mask ends after some 40 ms at the latest.
_LIMITS = llguidance.LLParserLimits(
    initial_lexer_fuel=200_000, step_lexer_fuel=50_000, verbose_errors=False
)
# What a walk's masks may take: usual ones need a twentieth of it.
_SECONDS, _SECONDS_PER_TOKEN = 0.1, 0.002


class Grammar:
    """One sequence's walk through a grammar.

    ``clock`` tells seconds of computing; :attr:`problem` says why a walk cannot go on, and
    ``on_problem`` is told that there is one.
    """

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        vocab_size: int,
        clock: Clock,
        on_problem: Callable[[], None],
    ) -> None:
        self._matcher = matcher
        self._words = np.zeros((vocab_size + 31) // 32, dtype=np.int32)
        self._vocab_size = vocab_size
        self._clock = clock
        self._on_problem = on_problem
        self._left = _SECONDS
        self.problem = ""

    def allowed(self) -> Tensor:
        """Which tokens may come next: bool [vocab]. End of text is among them when it may end;
        none are where there is a problem."""
        if not self.problem:
            self._compute()
        if self.problem:
            return torch.zeros(self._vocab_size, dtype=torch.bool)
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little")
        return torch.from_numpy(bits[: self._vocab_size].astype(bool))

    def accept(self, tokens: Sequence[int]) -> None:
        """Walk on by tokens that were generated."""
        self._matcher.consume_tokens(list(tokens))
        self._check()

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return not self.problem and bool(self._matcher.is_stopped())

    def _compute(self) -> None:
        before = self._clock()
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        self._left += _SECONDS_PER_TOKEN - (self._clock() - before)
        self._check()
        if self._left < 0:
            self._fail("working out what may come next takes too long; send a simpler one")

    def _check(self) -> None:
        """A matcher in error allows the end of text: what it has read matches nothing."""
        if self._matcher.is_error():
            self._fail(_first_line(self._matcher.get_error()))

    def _fail(self, problem: str) -> None:
        if not self.problem:
            self.problem = problem
            self._on_problem()


class GrammarCompiler:
    """Compiles what requests ask for and remembers the last few. Thread-safe."""

    def __init__(self, tokenizer: ModelTokenizer, clock: Clock = time.thread_time) -> None:
        self._tokenizer = tokenizer
        self._clock = clock
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[str, str], llguidance.LLMatcher] = OrderedDict()

    def grammar(self, params: SamplingParams) -> Grammar | None:
        """The grammar that ``params`` ask for, at its start; none when they ask for none.

        Raises a 400 that names the construct which is wrong or not supported.
        """
        for kind, text in (("json_schema", params.json_schema), ("regex", params.regex)):
            if text is not None:
                return self._walk(kind, text, self._matcher(kind, text))
        return None

    def knows(self, params: SamplingParams) -> bool:
        """Whether what ``params`` ask for has been compiled, or is nothing."""
        asked = ("json_schema", params.json_schema), ("regex", params.regex)
        with self._lock:
            return all(text is None or (kind, text) in self._compiled for kind, text in asked)

    def _walk(self, kind: str, text: str, matcher: llguidance.LLMatcher) -> Grammar:
        """A walk on a copy. Copies share what the library has worked out: where that has grown
        beyond its bounds, the next sequence needs a new one."""

        def forget() -> None:
            with self._lock:
                if self._compiled.get((kind, text)) is matcher:
                    del self._compiled[kind, text]

        return Grammar(matcher.deep_copy(), self._tokenizer.vocab_size, self._clock, forget)

    def _matcher(self, kind: str, text: str) -> llguidance.LLMatcher:
        with self._lock:
            if (kind, text) in self._compiled:
                self._compiled.move_to_end((kind, text))
                return self._compiled[kind, text]
        matcher = llguidance.LLMatcher(
            self._vocabulary, _source(kind, text), log_level=0, limits=_LIMITS
        )
        if matcher.is_error():
            raise _refusal(kind, _first_line(matcher.get_error()))
        first = self._walk(kind, text, matcher)
        if not first.allowed().any():
            raise _refusal(kind, first.problem)
        with self._lock:
            self._compiled[kind, text] = matcher
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return matcher

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Vocabulary(self._tokenizer)))


class _Vocabulary:
    """Our tokenizer in the form llguidance reads. Of several ends it takes the lowest id."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = sorted(tokenizer.control_ids)
        self.tokens = [
            (tokenizer.piece(i) or f"<unused {i}>").encode()
            if i in tokenizer.control_ids
            else piece
            for i, piece in enumerate(tokenizer.token_bytes)
        ]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.exact_ids(text)


def _source(kind: str, text: str) -> str:
    if kind == "regex":
        return llguidance.LLMatcher.grammar_from_regex(text)
    try:
        # Free white space lets a small model indent for ever.
        return llguidance.LLMatcher.grammar_from_json_schema(
            text, defaults={"whitespace_flexible": False}
        )
    except ValueError as error:
        raise _refusal(kind, f"it is not a JSON schema: {error}") from error


def _refusal(kind: str, problem: str) -> ApiError:
    """400, at the field as the engine's own request has it: each door of the gateway knows how its
    clients call it."""
    return invalid(f"{kind} cannot be used: {problem}", kind, "invalid_grammar")


def _first_line(error: str) -> str:
    return (error.splitlines() or [""])[0][:300]
