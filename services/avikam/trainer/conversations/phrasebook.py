"""The phrases that conversations are made of, read from the YAML files beside this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Language = Literal["fr", "en"]
LANGUAGES: tuple[Language, Language] = ("fr", "en")
ByLanguage = dict[Language, list[str]]


def other(language: Language) -> Language:
    """The language that a sentence in ``language`` is translated into."""
    return "en" if language == "fr" else "fr"


@dataclass(frozen=True, slots=True)
class Wordings:
    """How a translation out of one language is asked for; ``{s}`` stands for the sentence."""

    first: list[str]
    next: list[str]
    turn: list[str]
    back: list[str]


@dataclass(frozen=True, slots=True)
class Talk:
    """One group of small talk: what people say and what is answered."""

    user: list[str]
    assistant: list[str]


@dataclass(frozen=True, slots=True)
class Introduction:
    """A user tells a name ``{n}`` and asks for it later."""

    user: list[str]
    assistant: list[str]
    asked: list[str]
    told: list[str]


@dataclass(frozen=True, slots=True)
class Names:
    """Names that a translation keeps as they are."""

    women: list[str]
    men: list[str]
    families: list[str]
    cities: list[str]


@dataclass(frozen=True, slots=True)
class Refusals:
    """Questions beyond the model by kind, what fills their slots, and the answers."""

    questions: dict[str, ByLanguage]
    answers: dict[str, ByLanguage]
    topics: ByLanguage
    people: ByLanguage
    places: ByLanguage
    languages: ByLanguage
    ailments: ByLanguage
    foreign: list[str]


@dataclass(frozen=True, slots=True)
class Phrasebook:
    """Everything that is said around the sentences."""

    wordings: dict[Language, Wordings]
    again: list[str]
    correction: list[str]
    systems: dict[str, list[str]]
    talk: dict[str, dict[Language, Talk]]
    introductions: dict[Language, Introduction]
    names: Names
    templates: list[dict[Language, str]]
    mails: dict[str, list[dict[Language, str]]]
    refusals: Refusals = field(repr=False)


@cache
def phrasebook() -> Phrasebook:
    """The phrases that training uses; those of ``held_out.yaml`` are not among them."""
    requests, talk = read_phrases("requests"), read_phrases("talk")
    groups: dict[str, dict[Language, Any]] = talk["groups"]
    return Phrasebook(
        wordings={"fr": _wordings(requests, "english"), "en": _wordings(requests, "french")},
        again=requests["again"],
        correction=requests["correction"],
        systems=read_phrases("systems"),
        talk={g: {lang: Talk(**t) for lang, t in both.items()} for g, both in groups.items()},
        introductions={lang: Introduction(**i) for lang, i in talk["introductions"].items()},
        names=Names(**read_phrases("names")),
        templates=read_phrases("templates"),
        mails=read_phrases("mails"),
        refusals=Refusals(**read_phrases("refusals")),
    )


def read_phrases(name: str) -> Any:
    """One of the YAML files as plain lists and mappings."""
    text = files(__package__).joinpath("phrases", f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _wordings(requests: dict[str, Any], target: str) -> Wordings:
    asked = requests[f"to_{target}"]
    return Wordings(
        asked["first"], asked["next"], requests[f"turn_to_{target}"], requests[f"back_to_{target}"]
    )
