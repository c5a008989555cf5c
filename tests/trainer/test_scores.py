"""Scores whose value is known."""

from __future__ import annotations

import math

import pytest

from avikam.trainer.evaluation.answers import ANSWER_TASKS
from avikam.trainer.evaluation.scores import (
    composite,
    efficiency,
    exact_match,
    last_number,
    normalized_perplexity,
    token_f1,
)
from avikam.trainer.evaluation.translation import corpus_scores


def test_articles_case_and_punctuation_do_not_count() -> None:
    assert exact_match("La Chambre de commerce !", ["chambre de Commerce"]) == 1.0
    assert exact_match("l'été", ["été"]) == 1.0
    assert exact_match("hiver", ["été"]) == 0.0


def test_f1_is_the_best_over_the_references() -> None:
    assert token_f1("deux cent cinquante", ["rien", "cent cinquante"]) == pytest.approx(0.8)
    assert token_f1("", ["rien"]) == 0.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("167812", "167812"),
        ("2 + 2 = 4\nAnswer: 1,042", "1042"),
        ("Cela fait 70 000 $.", "70000"),
        ("Réponse : 3,5", "3,5"),
        ("aucun", ""),
    ],
)
def test_the_last_number_is_the_answer(text: str, number: str) -> None:
    assert last_number(text) == number


def test_a_regional_answer_must_name_the_expression() -> None:
    score = ANSWER_TASKS["regional"].score
    item = {"answer": "Au Québec, « une blonde » veut dire « une petite amie »."}
    assert score("Cela veut dire « une petite amie ».", item) == {"accuracy": 1.0}
    assert score("Cela veut dire « une blonde ».", item) == {"accuracy": 0.0}


def test_perplexity_is_normalized_between_uniform_and_perfect() -> None:
    assert normalized_perplexity(1.0, 8000) == 1.0
    assert normalized_perplexity(8000.0, 8000) == pytest.approx(0.0)
    assert normalized_perplexity(math.sqrt(8000), 8000) == pytest.approx(0.5)


def test_the_composite_is_the_specification_s() -> None:
    assert composite(0.5, 0.3, 0.6) == pytest.approx(0.4 * 0.5 + 0.3 * 0.3 + 0.3 * 0.6)
    assert efficiency(0.5, 100.0, 0.25) == pytest.approx(200.0)


def test_bleu_of_the_reference_is_100() -> None:
    text = ["Le petit chat dort dans la cuisine."]
    assert corpus_scores(text, text) == {"bleu": 100.0, "chrf": 100.0, "pairs": 1}
