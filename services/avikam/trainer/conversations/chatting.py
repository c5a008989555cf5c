"""Small talk: greetings, thanks, who the assistant is, a name that is remembered."""

from __future__ import annotations

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.looseness import loosen
from avikam.trainer.conversations.phrasebook import Introduction, Language, Names, Talk
from avikam.trainer.conversations.slots import slot_values

_LOOSE = 0.25
Turns = list[tuple[str, str]]


def small_talk(
    rng: np.random.Generator,
    group: dict[Language, Talk],
    language: Language,
    answered_in: Language | None = None,
) -> Turns:
    """One exchange of a group; answered in the user's language unless told another."""
    said = one_of(rng, group[language].user)
    answer = one_of(rng, group[answered_in or language].assistant)
    return [("user", loosen(rng, said) if happens(rng, _LOOSE) else said), ("assistant", answer)]


def introduction(
    rng: np.random.Generator, phrases: Introduction, names: Names
) -> tuple[Turns, Turns]:
    """The user tells a name; and the turn in which it is asked for, to come later."""
    values = slot_values(rng, names)
    name = values["g"] if happens(rng, 0.7) else values["n"]
    first = _named(rng, phrases.user, phrases.assistant, name)
    return first, _named(rng, phrases.asked, phrases.told, name)


def _named(rng: np.random.Generator, user: list[str], assistant: list[str], name: str) -> Turns:
    said, answer = one_of(rng, user), one_of(rng, assistant)
    return [("user", said.replace("{n}", name)), ("assistant", answer.replace("{n}", name))]
