"""More sentence pairs out of running text, made and checked by the model itself.

    French sentence -> English (the new side) -> French again; kept when the round trip is close

The original side is real text, the other is the model's. Training on such pairs teaches the
direction *into* the real side (Sennrich et al. 2016, arXiv 1511.06709); chrF between a sentence
and its round trip stands in for a judge.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import sacrebleu

from avikam.trainer.corpus import Corpus, load_corpus
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.evaluation.translation import Translator
from avikam.trainer.preparation.cleaning import key_of
from avikam.trainer.preparation.leaks import LeakGuard
from avikam.trainer.preparation.rows import Row, digest
from avikam.trainer.preparation.shards import write_lines
from avikam.trainer.progress import progress_bar
from avikam.trainer.readers import find, read_jsonl, read_tsv
from avikam.trainer.recipe import recipe
from avikam.trainer.sources import REAL_SIDE

_WORD = re.compile(r"[^\W\d_]{3,}")
GENERATED = "generated_train"
HEADER = "fr\ten\tdomain\tsource"


@recipe
class BacktranslationRecipe:
    """``round_trip`` is the least chrF (0..100) between a sentence and its round trip.

    At most ``sentences`` of each language are tried, those of ``words`` words; ``chunk`` of them
    at a time, each chunk kept on disk, so that a cut-off run goes on.
    """

    round_trip: float = 60.0
    sentences: int = 20_000
    words: tuple[int, int] = (4, 25)
    length_ratio: float = 2.5
    chunk: int = 256
    batch: int = 64


class Backtranslation:
    """Makes ``parallel/generated_train.tsv.gz`` of a corpus folder."""

    def __init__(self, subject: Subject, data: Path, recipe: BacktranslationRecipe) -> None:
        identity = json.dumps([subject.digest, asdict(recipe)])
        key = hashlib.sha256(identity.encode()).hexdigest()[:12]
        self._data = data
        self._recipe = recipe
        self._translator = Translator(subject, EvalRecipe(batch=recipe.batch))
        self._words: dict[str, set[str]] = {}
        self._work = data / "parallel" / f".backtranslation-{key}"

    def run(self) -> str:
        """Translate, check, add to what earlier runs made; returns a line of counts.

        Sentences that a pair has already, also one of an earlier run, are not tried again.
        """
        corpus = load_corpus(self._data)
        self._words = target_words(corpus)
        known = {digest(key_of(p.french)) for pairs in corpus.pairs.values() for p in pairs}
        known |= {digest(key_of(p.english)) for pairs in corpus.pairs.values() for p in pairs}
        passages = [p for group in corpus.passages.values() for p in group]
        chunks: list[Path] = []
        for language in ("fr", "en"):
            lines = (
                line for p in passages if p.language == language for line in p.text.split("\n")
            )
            chunks += self._translate(language, self._choose(lines, known))
        return self._collect(chunks)

    def _choose(self, lines: Iterator[str], known: set[int]) -> list[str]:
        """Sentences of a fitting length that no pair has, in hash order."""
        least, most = self._recipe.words
        fitting = {line.strip() for line in lines if least <= len(line.split()) <= most}
        new = [line for line in fitting if digest(key_of(line)) not in known]
        return sorted(new, key=digest)[: self._recipe.sentences]

    def _translate(self, language: str, sentences: list[str]) -> list[Path]:
        there, back = ("fr-en", "en-fr") if language == "fr" else ("en-fr", "fr-en")
        size, files = self._recipe.chunk, []
        with progress_bar(f"back-translate {language}", len(sentences)) as bar:
            for start in range(0, len(sentences), size):
                chunk = sentences[start : start + size]
                path = self._work / f"{language}-{start:08}.jsonl.gz"
                if not path.exists():
                    outputs = self._translator.translate(chunk, there, lambda done: None)
                    returned = self._translator.translate(outputs, back, lambda done: None)
                    rows = zip(chunk, outputs, returned, strict=True)
                    write_lines(path, (json.dumps([language, *row]) for row in rows))
                    self._translator.forget()
                files.append(path)
                bar(len(chunk), "")
        return files

    def _collect(self, chunks: list[Path]) -> str:
        counts: Counter[str] = Counter()
        guard = LeakGuard()
        if (self._data / "eval").is_dir():
            guard.hold_out_evaluation(self._data / "eval")
        lines = self._earlier()
        for chunk in chunks:
            for values in read_jsonl(chunk):
                problem = self._problem(*values)
                row = _pair(*values)
                if not problem and guard.leak(row):
                    problem = "leak"
                if not problem:
                    lines.append("\t".join((*row.parts, row.domain, row.source)))
                counts[problem or "kept"] += 1
        write_lines(self._data / "parallel" / f"{GENERATED}.tsv.gz", lines)
        for chunk in chunks:
            chunk.unlink()
        if self._work.exists():
            self._work.rmdir()
        return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())

    def _earlier(self) -> list[str]:
        """The header and the pairs that earlier runs made, as lines."""
        path = find(self._data / "parallel", GENERATED)
        rows = read_tsv(path) if path else ()
        return [HEADER, *("\t".join(row[c] for c in HEADER.split("\t")) for row in rows)]

    def _problem(self, language: str, original: str, output: str, returned: str) -> str:
        """Why a pair is not good enough; nothing when it is."""
        if not output.strip() or key_of(output) == key_of(original):
            return "not translated"
        shorter, longer = sorted((len(original), len(output)))
        if longer > self._recipe.length_ratio * shorter:
            return "unequal lengths"
        if copied_words(original, output, self._words[other_language(language)]):
            return "copied words"
        if round_trip_quality(original, returned) < self._recipe.round_trip:
            return "poor round trip"
        return ""


def _pair(language: str, original: str, output: str, returned: str) -> Row:
    first, second = (" ".join(text.split()) for text in (original, output))
    parts = (first, second) if language == "fr" else (second, first)
    return Row("pair", parts, "fr-en", REAL_SIDE[language], "avikam")


def other_language(language: str) -> str:
    """The language that a sentence is translated into."""
    return "en" if language == "fr" else "fr"


def target_words(corpus: Corpus) -> dict[str, set[str]]:
    """The words of each language that its own texts and real pairs have, in lower case."""
    words: dict[str, set[str]] = {"fr": set(), "en": set()}
    for domain, pairs in corpus.pairs.items():
        for pair in pairs if domain not in REAL_SIDE.values() else ():
            words["fr"].update(_WORD.findall(pair.french.lower()))
            words["en"].update(_WORD.findall(pair.english.lower()))
    for passages in corpus.passages.values():
        for passage in passages:
            words.setdefault(passage.language, set()).update(_WORD.findall(passage.text.lower()))
    return words


def copied_words(original: str, output: str, known: set[str]) -> set[str]:
    """Words left untranslated: in both sentences, but in no text of the output's language.

    Capitalised words may be names and stay.

    >>> copied_words("Ils mènent les vaches.", "They lead the vaches.", {"they", "lead", "the"})
    {'vaches'}
    """
    shared = set(_WORD.findall(original)) & set(_WORD.findall(output))
    return {word for word in shared if word.islower() and word not in known}


def round_trip_quality(original: str, returned: str) -> float:
    """chrF2 (0..100) of a sentence that has been translated there and back."""
    return float(sacrebleu.sentence_chrf(returned, [original]).score)
