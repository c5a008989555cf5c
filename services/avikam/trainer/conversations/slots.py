"""What fills the slots of templates: names, places, dates, prices, telephone numbers."""

from __future__ import annotations

import re

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.looseness import without_accents
from avikam.trainer.conversations.phrasebook import Language, Names
from avikam.trainer.examples import Pair

_FRENCH_MONTHS = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]
_ENGLISH_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SLOT = re.compile(r"\{(\w+)\}")


def fill(rng: np.random.Generator, template: dict[Language, str], names: Names) -> Pair:
    """Both sides of a template with the same values; a price is written as each language does."""
    values = slot_values(rng, names)
    french = values | {"price": values["price"].replace(".", ",")}
    return Pair(fill_slots(template["fr"], french), fill_slots(template["en"], values))


def fill_slots(text: str, values: dict[str, str]) -> str:
    """``text`` with each ``{slot}`` that ``values`` knows replaced."""
    return _SLOT.sub(lambda match: values.get(match[1], match[0]), text)


def slot_values(rng: np.random.Generator, names: Names) -> dict[str, str]:
    """A value for every slot that ``templates.yaml`` and ``mails.yaml`` may name."""
    given = one_of(rng, names.women if happens(rng, 0.5) else names.men)
    family, month = one_of(rng, names.families), int(rng.integers(12))
    return {
        "g": given,
        "f": family,
        "n": f"{given} {family}",
        "c": one_of(rng, names.cities),
        "d": one_of(rng, names.cities),
        "y": str(int(rng.integers(1940, 2030))),
        "i": str(int(10 ** rng.uniform(0.31, 4))),
        "j": str(int(10 ** rng.uniform(0.31, 4))),
        "h": str(int(rng.integers(2, 12))),
        "mm": str(int(rng.integers(12, 60))),
        "day": str(int(rng.integers(2, 29))),
        "fr_month": _FRENCH_MONTHS[month],
        "en_month": _ENGLISH_MONTHS[month],
        "phone": _phone(rng),
        "price": f"{int(10 ** rng.uniform(0.31, 3))}.{int(rng.integers(10, 100))}",
        "mail": f"{without_accents(given).lower()}@{one_of(rng, _DOMAINS)}",
        "street": one_of(rng, names.families),
    }


_DOMAINS = ("exemple.fr", "example.com", "exemple.ca", "example.org", "poste.example")


def _phone(rng: np.random.Generator) -> str:
    """A number as written in France, North America, or West Africa."""
    digits = "".join(str(int(d)) for d in rng.integers(0, 10, 10))
    draw = rng.random()
    if draw < 0.5:
        return f"0{int(rng.integers(1, 8))} " + " ".join(digits[i : i + 2] for i in range(0, 8, 2))
    if draw < 0.75:
        return f"514-555-{digits[:4]}"
    return f"+221 77 {digits[:3]} {digits[3:5]} {digits[5:7]}"
