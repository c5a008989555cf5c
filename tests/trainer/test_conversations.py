"""Conversations made of sentence pairs."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from avikam.trainer.conversations.asking import sentence_of
from avikam.trainer.conversations.composing import Composer
from avikam.trainer.conversations.looseness import loosen, without_accents
from avikam.trainer.conversations.passages import passage
from avikam.trainer.conversations.phrasebook import LANGUAGES, Language, phrasebook
from avikam.trainer.conversations.refusing import Beyond
from avikam.trainer.conversations.slots import fill
from avikam.trainer.conversations.sources import conversation_makers, conversation_sources
from avikam.trainer.conversations.substitution import substitute
from avikam.trainer.corpus import Corpus
from avikam.trainer.examples import Pair
from tests.trainer.commands import avikam
from tests.trainer.conftest import Pipeline

PAIRS = [
    Pair("Le chat dort.", "The cat sleeps."),
    Pair("Où est la gare ?", "Where is the station?"),
    Pair("Tom a 30 ans.", "Tom is 30 years old."),
    Pair("C'est le livre de Tom.", "It is Tom's book."),
    Pair("Il pleut beaucoup !", "It rains a lot!"),
]
QUIZ: dict[Language, list[str]] = {"fr": ["Qui a peint la Joconde ?"], "en": ["Who sang Hello?"]}


@pytest.fixture(scope="module")
def composer() -> Composer:
    phrases = phrasebook()
    return Composer(PAIRS, phrases, Beyond(phrases.refusals, QUIZ))


def draws(count: int = 200) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def answers(turns: list[tuple[str, str]]) -> list[str]:
    return [text for role, text in turns if role == "assistant"]


def test_every_kind_alternates_and_ends_with_an_answer(composer: Composer) -> None:
    for make in conversation_makers(composer).values():
        for rng in draws():
            turns = make(rng, PAIRS[0], LANGUAGES[int(rng.integers(2))])
            roles = "".join(role[0] for role, _ in turns)
            assert re.fullmatch("s?(ua)+", roles)
            assert all(text.strip() and "{" not in text for _, text in turns)


def test_the_same_generator_makes_the_same_conversation(composer: Composer) -> None:
    for seed in range(50):
        first, second = (
            composer.conversation(np.random.default_rng(seed), PAIRS[1], "fr") for _ in range(2)
        )
        assert first == second


def test_the_pair_is_translated_in_every_conversation(composer: Composer) -> None:
    """Every pair of the corpus gets its turn: a conversation about it holds its translation."""
    asked: tuple[tuple[Literal["fr", "en"], str], ...] = (
        ("fr", "Where is the station?"),
        ("en", "Où est la gare ?"),
    )
    for language, wanted in asked:
        for rng in draws():
            assert wanted in answers(composer.conversation(rng, PAIRS[1], language))


def test_translations_stand_in_every_position_with_and_without_system_texts(
    composer: Composer,
) -> None:
    known = {pair.english for pair in PAIRS} | {pair.french for pair in PAIRS}
    positions: Counter[tuple[bool, int]] = Counter()
    for rng in draws(600):
        turns = composer.conversation(rng, PAIRS[0], "fr")
        for place, answer in enumerate(answers(turns)):
            positions[turns[0][0] == "system", place] += answer in known
    assert all(positions[system, place] >= 20 for system in (True, False) for place in range(4))


def test_a_translator_answers_nothing_but_translations(composer: Composer) -> None:
    translators = phrasebook().systems
    bare = {*translators["to_english"], *translators["to_french"], *translators["both_ways"]}
    held = [composer.conversation(rng, PAIRS[1], "fr") for rng in draws(400)]
    translating = [turns for turns in held if turns[0][1] in bare]
    refusals = {a for kinds in phrasebook().refusals.answers.values() for a in kinds["fr"]}
    assert translating
    assert not any(set(answers(turns)) & refusals for turns in translating)


def test_refusals_answer_in_the_askers_language(composer: Composer) -> None:
    written = phrasebook().refusals.answers.values()
    for language in LANGUAGES:
        honest = {answer for kind in written for answer in kind[language]}
        assert all(answers(composer.refusal(rng, language))[-1] in honest for rng in draws())


def test_a_system_text_decides_the_language_of_talk(composer: Composer) -> None:
    english = {a for group in phrasebook().talk.values() for a in group["en"].assistant}
    english |= {a for kind in phrasebook().refusals.answers.values() for a in kind["en"]}
    english |= {pair.english for pair in PAIRS} | {pair.french for pair in PAIRS}
    demand = set(phrasebook().systems["speak_english"])
    held = [composer.conversation(rng, PAIRS[0], "fr") for rng in draws(600)]
    spoken = [turns for turns in held if turns[0][1] in demand]
    assert spoken
    assert all(set(answers(turns)) <= english for turns in spoken)


def test_a_name_told_is_remembered(composer: Composer) -> None:
    told = [answers(composer.talk(rng, "en"))[-1] for rng in draws(300)]
    names = phrasebook().names
    known = set(names.women) | set(names.men)
    remembered = [re.match(r"Your name is ([\w-]+)", answer) for answer in told]
    found = [match[1] for match in remembered if match]
    assert found
    assert set(found) <= known


@pytest.mark.parametrize("pair", PAIRS[2:4])
def test_names_and_numbers_change_on_both_sides_alike(pair: Pair) -> None:
    for rng in draws():
        changed = substitute(rng, pair, phrasebook().names)
        assert changed
        assert "Tom" not in changed.french + changed.english
        numbers = [re.findall(r"\d+", side) for side in (changed.french, changed.english)]
        assert numbers[0] == numbers[1]


def test_french_elides_before_a_new_name() -> None:
    names = [substitute(rng, PAIRS[3], phrasebook().names) for rng in draws()]
    french = [pair.french for pair in names if pair]
    assert any("d'A" in text for text in french)
    assert any("de M" in text for text in french)
    assert not any(re.search(r"de [AEIOU]|d'[BCDM]", text) for text in french)


def test_a_pair_without_names_or_numbers_has_none_to_change() -> None:
    assert substitute(np.random.default_rng(0), PAIRS[1], phrasebook().names) is None


@pytest.mark.parametrize("template", phrasebook().templates)
def test_templates_copy_their_slots(template: dict[Language, str]) -> None:
    for rng in draws(20):
        pair = fill(rng, template, phrasebook().names)
        french, english = (re.findall(r"\d+", side) for side in (pair.french, pair.english))
        assert sorted(french) == sorted(english)
        assert "{" not in pair.french + pair.english


def test_a_passage_keeps_the_order_of_its_sentences() -> None:
    for rng in draws():
        text = passage(rng, PAIRS[0], PAIRS, phrasebook())
        for pair in PAIRS[:2]:
            other = PAIRS[4]
            before = _before(text.french, pair.french, other.french)
            assert before == _before(text.english, pair.english, other.english)


def _before(text: str, first: str, second: str) -> bool | None:
    """Whether ``first`` comes before ``second``; None when one of them is missing."""
    if first not in text or second not in text:
        return None
    return text.index(first) < text.index(second)


def test_loose_typing_keeps_the_letters() -> None:
    text = "Où est l'élève ?"
    letters = {c for c in without_accents(text).lower() if c.isalpha()}
    for rng in draws():
        loose = loosen(rng, text)
        assert {c for c in without_accents(loose).lower() if c.isalpha()} == letters


def test_requests_are_typed_in_many_ways(composer: Composer) -> None:
    asked = {composer.single(rng, PAIRS[1], "fr")[-2][1] for rng in draws(400)}
    assert any(text.isupper() for text in asked)
    assert any("ou est la gare" in text for text in asked)
    assert len(asked) > 100


def test_a_sentence_is_its_pair_in_one_language() -> None:
    assert sentence_of(PAIRS[0], "en").translation == "Le chat dort."


def test_a_corpus_without_everyday_pairs_has_no_conversations() -> None:
    corpus = Corpus(pairs={"legal": PAIRS})
    assert conversation_sources(corpus, None, 100) == []  # type: ignore[arg-type]


def test_the_command_writes_rows_of_every_kind(pipeline: Pipeline, tmp_path: Path) -> None:
    said = avikam(
        "train", "conversations", pipeline.corpus, tmp_path, "--train", "300", "--valid", "20"
    )
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text("utf-8").splitlines()]
    assert {row["kind"] for row in rows} == {
        "conversations",
        "free-requests",
        "several-sentences",
        "copying",
        "refusals",
        "small-talk",
    }
    assert len(rows) == 300
    assert len((tmp_path / "valid.jsonl").read_text("utf-8").splitlines()) == 20
    assert str(tmp_path / "train.jsonl") in said


def test_the_command_refuses_a_share_for_no_kind(pipeline: Pipeline, tmp_path: Path) -> None:
    recipe = pipeline.recipe("typo", {"shares": {"converations": 1.0}})
    said = avikam("train", "conversations", pipeline.corpus, tmp_path, "--recipe", recipe, status=2)
    assert "no conversation is named 'converations'; shares take conversations" in said


def test_pretraining_draws_conversations(pipeline: Pipeline, tmp_path: Path) -> None:
    weights = {"everyday-pairs": 0.4, "conversations": 0.4, "refusals": 0.2}
    values = {
        "model": "avikam1-test",
        "model_changes": {"window": 32, "stride": 8, "max_positions": 256},
        "steps": 3,
        "rows": 4,
        "length": 128,
        "compile": False,
        "precision": "float32",
        "weights": weights,
        "decay": 0.5,
    }
    avikam(
        "train", "pretrain", pipeline.corpus, tmp_path, "--tokenizer", pipeline.tokenizer,
        "--recipe", pipeline.recipe("talking", values), "--device", "cpu",
    )  # fmt: skip
    assert (tmp_path / "state.pt").exists()
    assert (tmp_path / "before-decay.pt").exists()
