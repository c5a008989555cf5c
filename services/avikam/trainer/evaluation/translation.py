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


def translate(
    subject: Subject, sentences: list[str], direction: str, recipe: EvalRecipe, advance: Advance
) -> list[str]:
    """Greedy translations, one user turn each; at most twice the source's tokens and 16 more."""
    form = recipe.to_english if direction == "fr-en" else recipe.to_french
    prompts = [form.replace("{s}", sentence) for sentence in sentences]
    limits = [16 + 2 * len(subject.tokenizer.encode(sentence)) for sentence in sentences]
    return subject.answer(prompts, limits, recipe.batch, advance)


def score_pairs(
    subject: Subject, pairs: list[TestPair], recipe: EvalRecipe, advance: Advance
) -> dict[str, Any]:
    """Both directions: {direction: {domain or "all": {bleu, chrf, pairs}}} and the outputs."""
    result: dict[str, Any] = {}
    for direction in DIRECTIONS:
        french = [pair.french for pair in pairs]
        english = [pair.english for pair in pairs]
        sources, references = (french, english) if direction == "fr-en" else (english, french)
        outputs = translate(subject, sources, direction, recipe, advance)
        domains = {"all": list(range(len(pairs)))}
        for i, pair in enumerate(pairs):
            domains.setdefault(pair.domain, []).append(i)
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
