"""Translation quality: sacreBLEU's BLEU and chrF (Post 2018, Popović 2015), per domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sacrebleu

from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.readers import find, read_tsv

DIRECTIONS = ("fr-en", "en-fr")


@dataclass(frozen=True, slots=True)
class TestPair:
    """A sentence in both languages."""

    french: str
    english: str
    domain: str


def parallel_test(folder: Path, split: str = "test") -> list[TestPair]:
    """``parallel/<split>``, with its domains."""
    path = find(folder / "parallel", split)
    return [TestPair(r["fr"], r["en"], r["domain"]) for r in read_tsv(path)] if path else []


def public_sets(folder: Path) -> dict[str, list[TestPair]]:
    """Every ``eval/mt_<name>.tsv``; a column ``fr_ca`` makes a set of its own."""
    sets: dict[str, list[TestPair]] = {}
    for path in sorted((folder / "eval").glob("mt_*.tsv*")):
        name = path.name.removeprefix("mt_").split(".")[0]
        for row in read_tsv(path):
            sets.setdefault(name, []).append(TestPair(row["fr"], row["en"], name))
            if row.get("fr_ca"):
                canadian = TestPair(row["fr_ca"], row["en"], name)
                sets.setdefault(f"{name}-canada", []).append(canadian)
    return sets


def capped(pairs: list[TestPair], limit: int) -> list[TestPair]:
    """The first ``limit`` pairs of each domain (0 = all)."""
    seen: dict[str, int] = {}
    kept = []
    for pair in pairs:
        seen[pair.domain] = seen.get(pair.domain, 0) + 1
        if not limit or seen[pair.domain] <= limit:
            kept.append(pair)
    return kept


class Translator:
    """Greedy translations, one user turn each; every sentence is translated once."""

    def __init__(self, subject: Subject, recipe: EvalRecipe) -> None:
        self._subject = subject
        self._forms = {"fr-en": recipe.to_english, "en-fr": recipe.to_french}
        self._batch = recipe.batch
        self._known: dict[tuple[str, str], str] = {}

    def translate(self, sentences: list[str], direction: str, advance: Advance) -> list[str]:
        """Outputs in order; at most twice the source's tokens and 16 more."""
        new = [s for s in dict.fromkeys(sentences) if (direction, s) not in self._known]
        prompts = [self._forms[direction].replace("{s}", sentence) for sentence in new]
        limits = [16 + 2 * len(self._subject.tokenizer.encode(sentence)) for sentence in new]
        advance(len(sentences) - len(new))
        outputs = self._subject.answer(prompts, limits, self._batch, advance)
        self._known |= {(direction, s): out for s, out in zip(new, outputs, strict=True)}
        return [self._known[direction, sentence] for sentence in sentences]

    def forget(self) -> None:
        """Drop what has been translated, to bound memory over long runs."""
        self._known.clear()

    def score(self, pairs: list[TestPair], advance: Advance) -> dict[str, Any]:
        """Both directions: {direction: {domain or "all": {bleu, chrf, pairs}}}."""
        domains = {"all": list(range(len(pairs)))}
        for i, pair in enumerate(pairs):
            domains.setdefault(pair.domain, []).append(i)
        french, english = [p.french for p in pairs], [p.english for p in pairs]
        result: dict[str, Any] = {}
        for direction in DIRECTIONS:
            sources, references = (french, english) if direction == "fr-en" else (english, french)
            outputs = self.translate(sources, direction, advance)
            result[direction] = {
                domain: corpus_scores([outputs[i] for i in rows], [references[i] for i in rows])
                for domain, rows in domains.items()
            }
        return result


def corpus_scores(outputs: list[str], references: list[str]) -> dict[str, float]:
    """Corpus BLEU (13a, exponential smoothing) and chrF2, both 0..100."""
    bleu = sacrebleu.corpus_bleu(outputs, [references], force=True)
    chrf = sacrebleu.corpus_chrf(outputs, [references])
    return {"bleu": round(bleu.score, 2), "chrf": round(chrf.score, 2), "pairs": len(outputs)}
