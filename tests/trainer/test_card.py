"""The model card quotes evaluations, one or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from avikam.model.config import preset
from avikam.trainer.export.card import model_card, read_sources
from avikam.trainer.export.export import check_tensors
from tests.trainer.builders import tiny_model

FACTS: dict[str, Any] = {
    "weights": "int8",
    "training": {"steps": 3, "tokens": 1000, "seconds": 60},
    "sources": {"sources": []},
    "answers": [["Oui ?", "Yes | no"]],
}


def report(model: str, perplexity: float, limit: int = 0) -> dict[str, Any]:
    scores = {"perplexity": perplexity, "bits_per_byte": 1.5, "tokens": 10}
    return {
        "model": model,
        "weights": "int8",
        "digest": "d" * 64,
        "commit": "c0ffee",
        "recipe": {"limit": limit},
        "tasks": {
            "perplexity": {"valid": {"fr": {"all": scores}}},
            "logic": {"all": {"accuracy": 0.5, "chance": 0.25, "items": 4}},
        },
        "summary": {"accuracy": 0.5},
    }


def test_every_row_of_an_evaluation_is_quoted() -> None:
    card = model_card(preset("avikam1-nano"), FACTS, report("avikam1-nano", 58.5))
    assert "| split | language | domain | perplexity | bits per byte |" in card
    assert "| valid | fr | all | 58.5 | 1.5 |" in card
    assert "| logic | all | accuracy | 0.5 |" in card
    assert "| figure | value |" in card
    assert "baseline" not in card


def test_a_baseline_stands_beside_it_with_what_it_was() -> None:
    ours, dense = report("avikam1-nano", 58.5), report("dense", 60.25, limit=200)
    card = model_card(preset("avikam1-nano"), FACTS, ours, dense)
    assert "| valid | fr | all | 58.5 | 60.25 | 1.5 | 1.5 |" in card
    assert "| task | language | score | avikam1-nano | dense |" in card
    assert "`dense`, weights int8, digest `dddddddddddddddd`, code `c0ffee`, at most 200" in card
    same = model_card(preset("avikam1-nano"), FACTS, ours, report("avikam1-nano", 61.0))
    assert "perplexity, avikam1-nano (baseline) |" in same


def test_the_card_tells_of_the_model_it_lies_beside() -> None:
    """Another model's card has neither the embedded model's claims nor its sources."""
    card = model_card(preset("avikam1-test").with_changes(name="mine"), FACTS)
    assert card.startswith("# mine\n")
    assert "Nobody has said what this model may be used for" in card
    assert "were not stated when the model was exported" in card
    assert "atoeba" not in card


def test_sources_and_limits_come_from_the_file_that_is_given() -> None:
    described = read_sources(
        Path(__file__).parents[2] / "recipes" / "sources" / "avikam1-nano.yaml"
    )
    card = model_card(preset("avikam1-nano"), FACTS | {"sources": described})
    assert "translates everyday sentences" in card
    assert "| tatoeba |" in card


def test_conversations_are_quoted_turn_by_turn() -> None:
    turns = [["system", "Be brief."], ["user", "Salut"], ["assistant", "Bonjour\n!"]]
    card = model_card(preset("avikam1-nano"), FACTS | {"conversations": [turns]})
    assert "> **System:** Be brief.<br>\n> **User:** Salut<br>\n> **Model:** Bonjour<br>!" in card


def test_every_tensor_is_checked_before_it_is_written() -> None:
    model = tiny_model()
    weights = {name: w.detach().clone() for name, w in model.named_parameters()}
    check_tensors(model.config, weights)
    name = "blocks.1.attention.o_proj.weight"
    for broken, message in (
        ({**weights, name: torch.full_like(weights[name], float("nan"))}, "not finite"),
        ({**weights, name: weights[name][:3]}, "has shape"),
        ({n: w for n, w in weights.items() if n != name}, "is missing"),
        ({**weights, "extra": weights[name]}, "none of the model"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            check_tensors(model.config, broken)
        assert name in str(raised.value) or "extra" in str(raised.value)
