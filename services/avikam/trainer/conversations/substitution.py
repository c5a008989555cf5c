"""Other names and numbers in a pair, the same on both sides, so that copying is learnt."""

from __future__ import annotations

import re

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.phrasebook import Names
from avikam.trainer.examples import Pair

_NUMBER = re.compile(r"(?<![\w.,])\d{1,6}(?![\w]|[.,]\d)")
_MEN = ("Tom", "John", "Thomas", "Jean", "Ken", "Bill", "Jim", "Bob", "Mike", "Paul")
_WOMEN = ("Mary", "Marie", "Alice", "Jane", "Lucy", "Anne", "Nancy", "Betty")
_ELIDED = re.compile(r"\b([Dd]|[Qq]u|[Jj]usqu|[Ll]orsqu|[Pp]uisqu)'$")
_ELIDES = re.compile(r"\b([Dd]e|[Qq]ue|[Jj]usque|[Ll]orsque|[Pp]uisque) $")
_VOWELS = tuple("AEIOUÉÈÊÎÏÔŒHaeiouéèêh")


def substitute(rng: np.random.Generator, pair: Pair, names: Names) -> Pair | None:
    """The pair with what can be replaced replaced; None when nothing can be."""
    changed = _numbers(rng, _names(rng, pair, names))
    return changed if changed != pair else None


def _names(rng: np.random.Generator, pair: Pair, names: Names) -> Pair:
    """Every well-known given name that stands in both sentences becomes a less known one."""
    for known, fresh in ((_MEN, names.men), (_WOMEN, names.women)):
        for old in known:
            if _word(old).search(pair.french) and _word(old).search(pair.english):
                new = one_of(rng, fresh)
                if happens(rng, 0.35):
                    new = f"{new} {one_of(rng, names.families)}"
                pair = Pair(_in_french(pair.french, old, new), _in_english(pair.english, old, new))
    return pair


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])")


def _in_english(text: str, old: str, new: str) -> str:
    return _word(old).sub(new, text)


def _in_french(text: str, old: str, new: str) -> str:
    """``old`` replaced, with *de* and *que* elided before a vowel and whole before a consonant."""
    parts = _word(old).split(text)
    vowel = new.startswith(_VOWELS)
    for i in range(len(parts) - 1):
        if vowel:
            parts[i] = _ELIDES.sub(lambda m: m[1][:-1] + "'", parts[i])
        else:
            parts[i] = _ELIDED.sub(lambda m: m[1] + "e ", parts[i])
    return new.join(parts)


def _numbers(rng: np.random.Generator, pair: Pair) -> Pair:
    """Every number written in digits on both sides becomes one with as many digits."""
    shared = set(_NUMBER.findall(pair.french)) & set(_NUMBER.findall(pair.english))
    fresh = {old: _number_like(rng, old) for old in sorted(shared) if old not in ("0", "1")}

    def swap(match: re.Match[str]) -> str:
        return fresh.get(match[0], match[0])

    return Pair(_NUMBER.sub(swap, pair.french), _NUMBER.sub(swap, pair.english))


def _number_like(rng: np.random.Generator, old: str) -> str:
    """As many digits, more than one of whatever is counted; a year stays a year of our times."""
    if len(old) == 4 and old[:2] in ("18", "19", "20"):
        return str(int(rng.integers(1850, 2035)))
    low = 10 ** (len(old) - 1)
    return str(int(rng.integers(max(2, low), 10 * low)))
