"""A request for a translation, in one of many wordings, typed with or without care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.looseness import loosen
from avikam.trainer.conversations.phrasebook import Language
from avikam.trainer.examples import Pair

_LOOSE = 0.2
"""Share of requests that are typed without care."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text in ``language`` and its translation into the other one."""

    text: str
    translation: str
    language: Language


def sentence_of(pair: Pair, language: Language) -> Sentence:
    """The pair as something written in ``language``."""
    if language == "fr":
        return Sentence(pair.french, pair.english, "fr")
    return Sentence(pair.english, pair.french, "en")


def ask(rng: np.random.Generator, sentence: Sentence, wordings: Sequence[str]) -> str:
    """What the user writes to have ``sentence`` translated."""
    wording, text = one_of(rng, wordings), sentence.text
    if text.count("\n"):
        wording = wording.replace(" {s}", "\n{s}")
    if not _ends_with_sentence(wording):
        text = text.rstrip(".") if happens(rng, 0.6) else text
    asked = wording.replace("{s}", text)
    return loosen(rng, asked) if happens(rng, _LOOSE) else asked


def _ends_with_sentence(wording: str) -> bool:
    return wording.endswith("{s}")
