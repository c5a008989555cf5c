"""A question that the model cannot answer, and an honest answer in the asker's language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.looseness import loosen
from avikam.trainer.conversations.phrasebook import Language, Refusals
from avikam.trainer.conversations.slots import fill_slots

_LOOSE = 0.25
_CONTRACTIONS = (("de le ", "du "), ("de les ", "des "), ("à le ", "au "), ("à les ", "aux "))
_SLOT = re.compile(r"\{(\w)\}")


class Beyond:
    """Questions beyond the model: by template, and the ``quiz`` questions of a corpus as facts."""

    def __init__(self, phrases: Refusals, quiz: Mapping[Language, Sequence[str]]) -> None:
        self._phrases = phrases
        self._quiz = quiz
        self._kinds = list(phrases.questions)

    def turn(
        self, rng: np.random.Generator, language: Language, answered_in: Language | None = None
    ) -> list[tuple[str, str]]:
        """A question in ``language`` and its refusal, in the same language unless told another."""
        kind = one_of(rng, self._kinds)
        question = self._question(rng, kind, language)
        return [("user", question), ("assistant", self._answer(rng, kind, answered_in or language))]

    def _question(self, rng: np.random.Generator, kind: str, language: Language) -> str:
        quiz = self._quiz.get(language, ())
        if kind == "facts" and quiz and happens(rng, 0.7):
            question = one_of(rng, quiz)
        else:
            template = one_of(rng, self._phrases.questions[kind][language])
            question = self.fill(rng, template, language)
        return loosen(rng, question) if happens(rng, _LOOSE) else question

    def fill(self, rng: np.random.Generator, template: str, language: Language) -> str:
        """``template`` with every slot filled, each occurrence anew."""
        phrases = self._phrases
        choices: dict[str, Sequence[str]] = {
            "t": phrases.topics[language],
            "p": phrases.people[language],
            "c": phrases.places[language],
            "l": phrases.languages[language],
            "m": phrases.ailments[language],
            "f": phrases.foreign,
            "s": self._quiz.get(language) or phrases.topics[language],
        }
        numbers = {name: str(int(10 ** rng.uniform(0, 3))) for name in ("a", "b")}
        text = fill_slots(template, numbers)
        text = _SLOT.sub(lambda m: one_of(rng, choices[m[1]]), text)
        for apart, together in _CONTRACTIONS:
            text = text.replace(apart, together)
        return text

    def _answer(self, rng: np.random.Generator, kind: str, language: Language) -> str:
        special = self._phrases.answers.get(kind)
        if special and happens(rng, 0.8):
            return one_of(rng, special[language])
        return one_of(rng, self._phrases.answers["any"][language])
