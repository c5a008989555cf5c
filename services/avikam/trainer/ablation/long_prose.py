"""Running text joined into documents longer than the attention window.

A hybrid layer differs from a dense one only beyond the window, and the corpus keeps its text in
short passages; neighbouring passages of a book follow one another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.corpus import Corpus
from avikam.trainer.examples import Example, document
from avikam.trainer.mixture import Source


def long_prose(corpus: Corpus, tokenizer: Tokenizer, length: int, weight: float) -> Source:
    """Neighbouring passages of one domain and language joined into documents of ``length``."""
    texts = list(_joined(corpus, characters=5 * length))

    def render(index: int, rng: np.random.Generator) -> Example:
        example = document(tokenizer, texts[index], None)
        return Example(example.tokens[:length], example.counts[:length])

    return Source("long-prose", len(texts), weight, render)


def _joined(corpus: Corpus, characters: int) -> Iterator[str]:
    for passages in corpus.passages.values():
        for language in ("fr", "en"):
            parts: list[str] = []
            for passage in passages:
                if passage.language != language:
                    continue
                parts.append(passage.text)
                if sum(map(len, parts)) >= characters:
                    yield "\n".join(parts)
                    parts = []
