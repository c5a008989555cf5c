"""The model card quotes evaluations, one or two."""

from __future__ import annotations

from typing import Any

from avikam.model.config import preset
from avikam.trainer.export.card import model_card

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
