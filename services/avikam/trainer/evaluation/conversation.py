"""Translation where people really ask for it: after other turns, under system texts, loosely.

One thing changes at a time from the plain first turn, so that a figure tells what it costs. The
words around the sentences are those of ``conversations/phrases/held_out.yaml``, which no training
draws from; the typing of loose requests is the trainer's (:mod:`..conversations.looseness`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from avikam.trainer.conversations.chance import one_of
from avikam.trainer.conversations.looseness import loosen
from avikam.trainer.conversations.phrasebook import read_phrases
from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.subject import Subject, Turns
from avikam.trainer.evaluation.translation import DIRECTIONS, TestPair, corpus_scores

_TARGET = {"fr-en": "to_english", "en-fr": "to_french"}
EVERYDAY = "conversational"


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands before a request, and in which words it is asked (none: the recipe's own)."""

    name: str
    before: tuple[tuple[str, str], ...] = ()
    wordings: tuple[str, ...] = ()


def settings(direction: str) -> Iterator[Setting]:
    """The plain first turn and everything that differs from it, for one direction."""
    phrases = read_phrases("held_out")
    target = _TARGET[direction]
    histories = {
        name: tuple(
            turn for pair in pairs for turn in zip(("user", "assistant"), pair, strict=True)
        )
        for name, pairs in phrases["histories"][target].items()
    }
    one = histories["after one translation"]
    loose = tuple(phrases["requests"][target])
    yield Setting("first turn")
    for name, before in histories.items():
        yield Setting(name, before)
    for name, text in phrases["systems"].items():
        yield Setting(f"system text: {name}", (("system", text),))
        yield Setting(f"system text: {name}, after one translation", (("system", text), *one))
    yield Setting("asked loosely", (), loose)
    yield Setting("asked loosely, after one translation", one, loose)


def count_settings() -> int:
    """How many settings one sentence is translated in, both directions together."""
    return sum(1 for direction in DIRECTIONS for _ in settings(direction))


def score_conversations(
    subject: Subject, pairs: list[TestPair], recipe: EvalRecipe, advance: Advance
) -> dict[str, Any]:
    """{direction: {setting: {bleu, chrf, pairs}}} over the same ``pairs``."""
    forms = {"fr-en": recipe.to_english, "en-fr": recipe.to_french}
    result: dict[str, Any] = {}
    for direction in DIRECTIONS:
        sides = [(p.french, p.english) for p in pairs]
        if direction == "en-fr":
            sides = [(english, french) for french, english in sides]
        limits = [16 + 2 * len(subject.tokenizer.encode(source)) for source, _ in sides]
        result[direction] = {}
        for setting in settings(direction):
            rng = np.random.default_rng(0)
            asked = [_asked(setting, source, forms[direction], rng) for source, _ in sides]
            outputs = subject.reply(asked, limits, recipe.batch, advance)
            scores = corpus_scores(outputs, [reference for _, reference in sides])
            result[direction][setting.name] = scores
    return result


def _asked(setting: Setting, source: str, form: str, rng: np.random.Generator) -> Turns:
    if not setting.wordings:
        return [*setting.before, ("user", form.replace("{s}", source))]
    text = one_of(rng, setting.wordings).replace("{s}", source)
    return [*setting.before, ("user", loosen(rng, text))]


def everyday(pairs: list[TestPair], count: int) -> list[TestPair]:
    """The first ``count`` everyday pairs; of any domain when the corpus has no everyday ones."""
    chosen = [pair for pair in pairs if pair.domain == EVERYDAY] or pairs
    return chosen[:count]
