"""Perplexity of running text, per language and domain, and bits per byte.

A token's probability depends on the vocabulary, bits per byte do not: compare models of
different tokenizers by the latter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.model.tokenizer import Tokenizer, normalize
from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.examples import Example
from avikam.trainer.readers import find, read_jsonl


@dataclass(frozen=True, slots=True)
class Text:
    """A held-out document."""

    text: str
    language: str
    domain: str


def held_out_texts(folder: Path, split: str) -> list[Text]:
    """The ``split`` of every ``mono`` file; the test split adds ``eval/perplexity_fr_web``."""
    texts = [
        Text(row["text"], row["lang"], row["domain"])
        for path in sorted((folder / "mono").glob("*.jsonl*"))
        for row in read_jsonl(path)
        if row["split"] == split
    ]
    web = find(folder / "eval", "perplexity_fr_web") if split == "test" else None
    return texts + [Text(row["text"], "fr", "web") for row in read_jsonl(web)] if web else texts


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Tokens of a text that are scored at once; ``size`` is how many bytes they stand for."""

    text: Text
    example: Example
    size: int


def text_chunks(tokenizer: Tokenizer, texts: list[Text], recipe: EvalRecipe) -> list[TextChunk]:
    """What is scored of ``texts``: up to the recipe's tokens of every domain."""
    groups = _by_domain(texts).values()
    return [chunk for group in groups for chunk in _sample(tokenizer, group, recipe)]


def score_chunks(subject: Subject, chunks: list[TextChunk], advance: Advance) -> dict[str, Any]:
    """{language: {domain or "all": {perplexity, bits_per_byte, tokens}}}."""
    scored = subject.log_likelihoods([chunk.example for chunk in chunks], advance)
    sums: dict[tuple[str, str], list[float]] = {}
    for chunk, likelihood in zip(chunks, scored, strict=True):
        for domain in (chunk.text.domain, "all"):
            row = sums.setdefault((chunk.text.language, domain), [0.0, 0.0, 0.0])
            row[0] -= likelihood.log_probability
            row[1] += likelihood.tokens
            row[2] += chunk.size
    result: dict[str, Any] = {}
    for (language, domain), (loss, tokens, length) in sorted(sums.items()):
        result.setdefault(language, {})[domain] = {
            "perplexity": round(math.exp(loss / tokens), 3),
            "bits_per_byte": round(loss / math.log(2) / length, 4),
            "tokens": int(tokens),
        }
    return result


def _by_domain(texts: list[Text]) -> dict[tuple[str, str], list[Text]]:
    groups: dict[tuple[str, str], list[Text]] = {}
    for text in texts:
        groups.setdefault((text.language, text.domain), []).append(text)
    return groups


def _sample(tokenizer: Tokenizer, texts: list[Text], recipe: EvalRecipe) -> Iterator[TextChunk]:
    """Chunks of the domain's texts in hash order, up to the domain's budget of tokens."""
    left = recipe.perplexity_tokens
    ordered = sorted(texts, key=lambda t: hashlib.sha256(t.text.encode()).digest())
    for text in ordered[: recipe.limit or None]:
        for example in chunks_of(tokenizer, text.text, recipe.context):
            if left <= 0:
                return
            left -= len(example.tokens) - 1
            size = sum(len(tokenizer.token_bytes[t]) for t in example.tokens)
            yield TextChunk(text, example, size)


def chunks_of(tokenizer: Tokenizer, text: str, context: int) -> Iterator[Example]:
    """``<s>`` (not counted) and up to ``context`` tokens of the text, again and again."""
    ids = tokenizer.encode(normalize(text))
    for start in range(0, len(ids), context):
        body = ids[start : start + context]
        yield Example([tokenizer.bos_id, *body], [False, *[True] * len(body)])
