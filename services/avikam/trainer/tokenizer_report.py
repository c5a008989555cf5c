"""Fertility: how many tokens a vocabulary spends on a word, by language."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.corpus import Corpus
from avikam.trainer.evaluation.tables import table
from avikam.trainer.tokenizer_training import train_tokenizer


@dataclass(frozen=True, slots=True)
class Fertility:
    """Tokens per word and bytes per token over held-out text."""

    language: str
    tokens_per_word: float
    bytes_per_token: float


def fertility(tokenizer: Tokenizer, language: str, texts: Iterable[str]) -> Fertility:
    """Measure one language; words are what spaces separate."""
    tokens = words = size = 0
    for text in texts:
        tokens += len(tokenizer.encode(text))
        words += len(text.split())
        size += len(text.encode())
    return Fertility(language, tokens / max(1, words), size / max(1, tokens))


def held_out_lines(corpus: Corpus, most: int = 4000) -> dict[str, list[str]]:
    """Lines of each language: both sides of the pairs, then running text."""
    lines: dict[str, list[str]] = {"fr": [], "en": []}
    for pairs in corpus.pairs.values():
        lines["fr"] += [pair.french for pair in pairs[: most // 4]]
        lines["en"] += [pair.english for pair in pairs[: most // 4]]
    for passages in corpus.passages.values():
        for passage in passages[: most // 20]:
            lines[passage.language].append(passage.text)
    return {language: texts[:most] for language, texts in lines.items()}


def train_vocabularies(train: Corpus, valid: Corpus, out: Path, sizes: Iterable[int]) -> Path:
    """Write ``tokenizer-<size>.model`` for every size and ``fertility.md``; returns the latter.

    A vocabulary that exists already is kept, so a cut-off run goes on.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = held_out_lines(valid)
    rows = []
    for size in sorted(sizes):
        path = out / f"tokenizer-{size}.model"
        if not path.exists():
            train_tokenizer(train, path, size)
        found = [fertility(Tokenizer(path), lang, lines[lang]) for lang in ("fr", "en")]
        rows.append([f"{size:,}", *(f"{f.tokens_per_word:.3f}" for f in found)])
        rows[-1] += [f"{f.bytes_per_token:.2f}" for f in found]
    header = ("vocabulary", "tokens/word FR", "tokens/word EN", "bytes/token FR", "bytes/token EN")
    document = out / "fertility.md"
    document.write_text(f"# Fertility\n\n{table(header, rows)}\n", encoding="utf-8")
    return document
