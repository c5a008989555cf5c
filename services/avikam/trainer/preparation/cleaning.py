"""Cleaning that keeps French typography usable."""

from __future__ import annotations

import re
import unicodedata

from avikam.model.tokenizer import normalize

_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r" ?\n[ \n]*")
_PUNCTUATION = re.compile(r"[^\w\s]")


def clean(text: str, strip_punctuation: bool = False) -> str:
    """NFKC, straight quotes, ordinary spaces, no control characters.

    ``strip_punctuation`` applies the specification's regex, see
    :class:`avikam.trainer.preparation.recipe.CorpusRecipe`.

    >>> clean("« L\u2019été,\u00a0enfin\u202f! »")
    "« L'été, enfin ! »"
    >>> clean("« L\u2019été,\u00a0enfin\u202f! »", strip_punctuation=True)
    'Lété enfin'
    """
    text = normalize(text)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    if strip_punctuation:
        text = _PUNCTUATION.sub("", text)
    return _BLANK_LINES.sub("\n", _SPACES.sub(" ", text)).strip()


def key_of(text: str) -> str:
    """What two texts share when they differ in case, punctuation and spacing only."""
    return " ".join(_PUNCTUATION.sub(" ", normalize(text).casefold()).split())
