"""What a translation must keep, names and numbers, and that it does not go round in circles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[\w-]+")
_NAME = re.compile(r"(?:(?<=[\w,;:'’] )|(?<='))[A-ZÀÂÇÉÈÊÎÔÛ][\w-]+")
_SAID_THRICE = re.compile(r"(\b\w[\w' ]*\w\b)(?:[\s,.;:!?]+\1\b){2}", re.IGNORECASE)


def names(text: str) -> set[str]:
    """Capitalised words inside a sentence, not at its beginning.

    >>> sorted(names("Hier, Aminata a vu l'Espagne. Il pleut."))
    ['Aminata', 'Espagne']
    """
    return set(_NAME.findall(text))


def repeats(text: str) -> bool:
    """Whether a phrase of two letters or more stands three times in a row.

    >>> repeats("un modèle, un modèle, un modèle"), repeats("très, très bien")
    (True, False)
    """
    return bool(_SAID_THRICE.search(text))


def faithfulness(
    sources: Sequence[str], references: Sequence[str], outputs: Sequence[str]
) -> dict[str, float]:
    """Shares of the names and numbers common to source and reference that the output keeps."""
    kept = {"names": [0, 0], "numbers": [0, 0]}
    for source, reference, output in zip(sources, references, outputs, strict=True):
        shared = names(source) & set(_WORD.findall(reference))
        _count(kept["names"], shared, set(_WORD.findall(output)))
        digits = set(_NUMBER.findall(source)) & set(_NUMBER.findall(reference))
        _count(kept["numbers"], digits, set(_NUMBER.findall(output)))
    circles = sum(
        repeats(out) and not repeats(ref) for ref, out in zip(references, outputs, strict=True)
    )
    result: dict[str, Any] = {}
    for what, (there, whole) in kept.items():
        result |= {f"{what}_kept": round(there / max(1, whole), 4), what: whole}
    return result | {"repeating": round(circles / max(1, len(outputs)), 4), "pairs": len(outputs)}


def _count(kept: list[int], wanted: set[str], there: set[str]) -> None:
    kept[0] += len(wanted & there)
    kept[1] += len(wanted)
