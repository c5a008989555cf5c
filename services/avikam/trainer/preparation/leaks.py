"""Does anything held out occur in training text?

Two rules, both on words without case and punctuation. A sentence leaks when it equals a held-out
sentence of four words or more (ten inside running text: every novel says *Je ne sais pas ce que
c'est*); a passage leaks when more than two thirds of its eight-word sequences are held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avikam.trainer.evaluation.choices import question_with_options
from avikam.trainer.preparation.cleaning import key_of
from avikam.trainer.preparation.rows import Row, digest
from avikam.trainer.readers import read_jsonl, read_tsv

_SEQUENCE = 8
_FEWEST_WORDS = 4
_FEWEST_WORDS_OF_A_LINE = 10
_FEWEST_SEQUENCES = 4


@dataclass(slots=True)
class HeldOut:
    """Sentences and word sequences that training text must not contain."""

    sentences: set[int] = field(default_factory=set)
    sequences: set[int] = field(default_factory=set)

    def add(self, text: str) -> None:
        """Hold out a text and each of its lines."""
        for line in {text, *text.split("\n")}:
            words = key_of(line).split()
            if len(words) >= _FEWEST_WORDS:
                self.sentences.add(digest(" ".join(words)))
            self.sequences.update(_sequences(words))

    def add_whole(self, text: str) -> None:
        """Hold out a text that is made of common sentences: only the very whole counts."""
        self.sentences.add(digest(key_of(text)))

    def leaks(self, row: Row) -> str:
        """The held-out text in ``row``, or nothing."""
        fewest = _FEWEST_WORDS_OF_A_LINE if row.kind == "text" else _FEWEST_WORDS
        for part in row.parts:
            for line in (part, *part.split("\n")) if "\n" in part else (part,):
                if self._holds(key_of(line).split(), fewest):
                    return line
        return ""

    def _holds(self, words: list[str], fewest: int) -> bool:
        if len(words) >= fewest and digest(" ".join(words)) in self.sentences:
            return True
        found = list(_sequences(words))
        shared = sum(sequence in self.sequences for sequence in found)
        return len(found) >= _FEWEST_SEQUENCES and 3 * shared > 2 * len(found)


def _sequences(words: list[str]) -> Iterator[int]:
    for start in range(len(words) - _SEQUENCE + 1):
        yield digest(" ".join(words[start : start + _SEQUENCE]))


class LeakGuard:
    """Evaluation sets, which no row may hold, and held-out rows, which no pair or text may hold.

    Conversations are not compared with held-out rows: everybody asks *Quelle heure est-il ?*, and
    no answer is given away by it. Copies of a conversation are exact copies, removed before.
    """

    def __init__(self) -> None:
        self._evaluation = HeldOut()
        self._rows = HeldOut()

    def hold_out_evaluation(self, folder: Path) -> list[str]:
        """Add every text of every evaluation file of ``folder``; returns the files' names."""
        names = []
        for path in sorted(folder.glob("*")):
            if ".tsv" in path.suffixes:
                rows: Iterable[dict[str, Any]] = read_tsv(path)
            elif ".jsonl" in path.suffixes:
                rows = read_jsonl(path)
            else:
                continue
            names.append(path.name)
            for row in rows:
                _hold_out(row, self._evaluation)
        return names

    def hold_out(self, row: Row) -> None:
        """Add a validation or test row."""
        if row.kind != "chat":
            for part in row.parts:
                self._rows.add(part)

    def leak(self, row: Row) -> str:
        """The held-out text in a training row, or nothing."""
        found = self._evaluation.leaks(row)
        return found if found or row.kind == "chat" else self._rows.leaks(row)


def _hold_out(row: dict[str, Any], held: HeldOut) -> None:
    """Add what identifies an item.

    A context with options is a puzzle of stock sentences, so the whole of it counts; any other
    context is a document; without one it is the question or the sentences. Options and labels
    alone are too short to tell anything.
    """
    if row.get("context") and row.get("options"):
        held.add_whole(question_with_options(row))
        return
    names = ("context",) if row.get("context") else ("fr", "en", "fr_ca", "text", "question")
    for name in names:
        if row.get(name):
            held.add(str(row[name]))


def first_leaks(rows: Iterable[Row], guard: LeakGuard, most: int = 20) -> list[str]:
    """Up to ``most`` training lines that are held out, as JSON with where they come from."""
    found: list[str] = []
    for row in rows:
        line = guard.leak(row)
        if line:
            place = {"domain": row.domain, "source": row.source, "line": line[:200]}
            found.append(json.dumps(place, ensure_ascii=False))
        if len(found) >= most:
            break
    return found
