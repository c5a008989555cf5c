"""What evaluation says of conversations, refusals, names and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avikam.trainer.conversations.phrasebook import phrasebook, read_phrases
from avikam.trainer.evaluation.conversation import settings
from avikam.trainer.evaluation.faithfulness import faithfulness, names, repeats
from avikam.trainer.evaluation.refusal import few_of_each, is_refusal, prompts
from avikam.trainer.evaluation.translation import DIRECTIONS, TestPair
from tests.trainer.commands import avikam
from tests.trainer.conftest import Pipeline


def test_what_is_asked_of_refusals_is_not_what_training_draws_from() -> None:
    trained = {
        text.lower()
        for by_language in phrasebook().refusals.questions.values()
        for texts in by_language.values()
        for text in texts
    }
    beyond = read_phrases("held_out")["beyond"]
    assert len(beyond) == 12
    for by_language in beyond.values():
        assert not {text.lower() for texts in by_language.values() for text in texts} & trained


def test_held_out_requests_and_system_texts_are_new_to_training() -> None:
    held_out, book = read_phrases("held_out"), phrasebook()
    asked = {t.lower() for w in book.wordings.values() for t in (*w.first, *w.next, *w.turn)}
    for wordings in held_out["requests"].values():
        assert not {text.lower() for text in wordings} & asked
    systems = {text for texts in book.systems.values() for text in texts}
    new = set(held_out["systems"].values()) - systems
    assert len(new) == 3
    assert set(held_out["systems"].values()) - new == {"You are a helpful assistant."}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_settings_change_one_thing_at_a_time(direction: str) -> None:
    found = {setting.name: setting for setting in settings(direction)}
    assert found["first turn"].before == ()
    assert len(found["after three turns"].before) == 6
    assert found["system text: helpful"].before[0] == ("system", "You are a helpful assistant.")
    assert sum("system text" in name for name in found) == 8
    assert found["asked loosely"].wordings


def test_a_training_answer_counts_as_a_refusal() -> None:
    answers = phrasebook().refusals.answers
    assert all(is_refusal(t) for kind in answers.values() for lang in kind for t in kind[lang])
    talk = phrasebook().talk
    said = [t for group in talk.values() for lang in group for t in group[lang].assistant]
    assert not any(is_refusal(text) for text in said)


def test_a_translation_that_says_i_dont_know_is_not_asked(tmp_path: Path) -> None:
    pairs = [
        TestPair("Je ne sais pas.", "I don't know.", "conversational"),
        TestPair("Il dort.", "He sleeps.", "conversational"),
    ]
    asked = [p.text for p in prompts(tmp_path, pairs, "Traduis : {s}") if p.kind == "translation"]
    assert asked == ["Traduis : Il dort."]


def test_a_quick_look_asks_some_of_every_kind(tmp_path: Path) -> None:
    whole = prompts(tmp_path, [TestPair("Il dort.", "He sleeps.", "conversational")], "{s}")
    few = few_of_each(whole, 2)
    assert {prompt.kind for prompt in few} == {prompt.kind for prompt in whole}
    assert len(few) < len(whole)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aminata est là.", set()),
        ("Hier, Aminata Traoré a vu l'Espagne.", {"Aminata", "Traoré", "Espagne"}),
        ("Il dort. Elle mange.", set()),
        ("Dis à Jean-Marc d'appeler Zoé !", {"Jean-Marc", "Zoé"}),
    ],
)
def test_names_stand_inside_sentences(text: str, expected: set[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "circles"),
    [
        ("un modèle de langue, un modèle de langue, un modèle de langue", True),
        ("non non non", True),
        ("très, très bien", False),
        ("10000 points of 10000 points.", False),
    ],
)
def test_going_round_in_circles(text: str, circles: bool) -> None:
    assert repeats(text) is circles


def test_kept_names_and_numbers_are_counted() -> None:
    scores = faithfulness(
        ["Avec Fatou, 12 pommes.", "Chez Moussa en 1999."],
        ["With Fatou, 12 apples.", "At Moussa's in 1999."],
        ["With Fatou, 13 apples.", "At Moose's in 1999."],
    )
    assert scores["names_kept"] == 0.5
    assert scores["numbers_kept"] == 0.5
    assert (scores["names"], scores["numbers"], scores["repeating"]) == (2, 2, 0.0)


def test_the_report_has_a_row_for_every_setting(pipeline: Pipeline, tmp_path: Path) -> None:
    figures = tmp_path / "eval.json"
    words = [w for t in ("conversation", "refusal", "faithfulness") for w in ("--task", t)]
    printed = avikam(
        "eval", "--model", pipeline.model, "--data", pipeline.corpus, "--out", tmp_path / "out",
        "--json", figures, "--set", "conversation_pairs=3", "--limit", "3", *words,
    )  # fmt: skip
    tasks = json.loads(figures.read_text("utf-8"))["tasks"]
    rows = tasks["conversation"]["fr-en"]
    assert set(rows) == {setting.name for setting in settings("fr-en")}
    assert all(f"| {name} |" in printed for name in rows)
    assert 0 <= tasks["refusal"]["all"]["recall"] <= 1
    assert tasks["faithfulness"]["en-fr"]["pairs"] > 0


def test_a_corpus_without_evaluation_sets_can_be_measured(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    for name in ("parallel", "mono"):
        (tmp_path / name).symlink_to(pipeline.corpus / name)
    printed = avikam(
        "eval", "--model", pipeline.model, "--data", tmp_path, "--out", tmp_path / "out",
        "--limit", "2", "--set", "conversation_pairs=2",
    )  # fmt: skip
    assert "## Translation, parallel/test" in printed
