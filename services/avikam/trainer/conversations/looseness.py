"""The ways people type: without capitals, accents or punctuation, or all in capitals."""

from __future__ import annotations

import unicodedata

import numpy as np

from avikam.trainer.conversations.chance import happens


def loosen(rng: np.random.Generator, text: str) -> str:
    """``text`` as somebody in a hurry would type it.

    One in six writes all in capitals; the others drop capitals, accents and punctuation, each by
    chance.
    """
    if happens(rng, 1 / 6):
        return without_accents(text).upper() if happens(rng, 0.5) else text.upper()
    if happens(rng, 0.7):
        text = text.lower()
    if happens(rng, 0.5):
        text = without_accents(text)
    return _punctuation(rng, text)


def _punctuation(rng: np.random.Generator, text: str) -> str:
    """The end mark missing, doubled, or without the French space before it."""
    draw = rng.random()
    if draw < 0.4:
        return text.rstrip(" .!?")
    if draw < 0.5 and text[-1:] in "!?.":
        return text + text[-1] * int(rng.integers(1, 3))
    if draw < 0.75:
        return text.replace(" ?", "?").replace(" !", "!").replace(" :", ":")
    return text


def without_accents(text: str) -> str:
    """Letters without their marks.

    >>> without_accents("Où est l'élève ?")
    "Ou est l'eleve ?"
    """
    apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))
