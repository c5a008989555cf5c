"""From text to training examples: token ids, and which of them the loss counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avikam.model.tokenizer import LANGUAGE_TOKENS, ROLE_TOKENS, Tokenizer


@dataclass(frozen=True, slots=True)
class Example:
    """``tokens[i]`` is predicted from what stands before it when ``counts[i]`` is true."""

    tokens: list[int]
    counts: list[bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """One French/English sentence pair."""

    french: str
    english: str


def document(tokenizer: Tokenizer, text: str, language: str | None) -> Example:
    """``<s>`` [tag] text ``</s>``, every token counted but the frame."""
    prefix = tokenizer.encode_prompt("", language)
    body = [*tokenizer.encode(text), tokenizer.eos_id]
    return Example([*prefix, *body], [False] * len(prefix) + [True] * len(body))


def chat(tokenizer: Tokenizer, turns: Sequence[tuple[str, str]]) -> Example:
    """A conversation; only what the assistant says (and its end) is counted."""
    tokens, counts = [tokenizer.bos_id], [False]
    for role, content in turns:
        body = [*tokenizer.encode(content), tokenizer.eos_id]
        tokens += [tokenizer.token_id(ROLE_TOKENS[role]), *body]
        counts += [False, *[role == "assistant"] * len(body)]
    return Example(tokens, counts)


def translation(
    tokenizer: Tokenizer,
    pair: Pair,
    prompts: Sequence[str],
    to_english: bool,
    rng: np.random.Generator,
) -> Example:
    """The pair as a request in one of ``prompts`` (with ``{s}`` for the sentence)."""
    source, target = (pair.french, pair.english) if to_english else (pair.english, pair.french)
    prompt = prompts[int(rng.integers(len(prompts)))]
    return chat(tokenizer, [("user", prompt.replace("{s}", source)), ("assistant", target)])


def tagged_translation(tokenizer: Tokenizer, pair: Pair, to_english: bool) -> Example:
    """``<s>[FR] source [EN] target</s>``: both languages are counted, so both are learnt."""
    french = [tokenizer.token_id(LANGUAGE_TOKENS["fr"]), *tokenizer.encode(pair.french)]
    english = [tokenizer.token_id(LANGUAGE_TOKENS["en"]), *tokenizer.encode(pair.english)]
    first, second = (french, english) if to_english else (english, french)
    tokens = [tokenizer.bos_id, *first, *second, tokenizer.eos_id]
    counts = [True] * len(tokens)
    counts[0] = counts[1] = counts[1 + len(first)] = False
    return Example(tokens, counts)
