"""The whole way from raw text to figures, on text that the tests generate."""

from __future__ import annotations

import json

from avikam.model.checkpoint import load_checkpoint, verify_checkpoint
from tests.trainer.commands import avikam
from tests.trainer.conftest import Pipeline


def test_every_step_leaves_what_the_next_one_needs(pipeline: Pipeline) -> None:
    report = json.loads((pipeline.corpus / "report.json").read_text("utf-8"))
    assert report["dropped"]["not UTF-8"] == 1
    assert (pipeline.corpus / "rows.png").stat().st_size > 1000
    assert "420" in (pipeline.tokenizer.parent / "fertility.md").read_text("utf-8")
    assert verify_checkpoint(pipeline.model) == []
    assert load_checkpoint(pipeline.model).stored_type == "int8"


def test_the_trained_model_translates_its_little_world(pipeline: Pipeline) -> None:
    out = pipeline.root / "evaluation"
    metrics = pipeline.run / "metrics.jsonl"
    printed = avikam(
        "eval", "--data", pipeline.corpus, "--model", pipeline.model, "--out", out,
        "--json", pipeline.root / "eval.json", "--limit", "12", "--metrics", metrics,
    )  # fmt: skip
    report = json.loads((pipeline.root / "eval.json").read_text("utf-8"))
    translation = report["tasks"]["translation"]
    assert translation["fr-en"]["all"]["bleu"] > 40
    assert translation["en-fr"]["conversational"]["chrf"] > 40
    assert report["tasks"]["perplexity"]["test"]["fr"]["stories"]["perplexity"] < 20
    assert 0 < report["summary"]["composite"] <= 1
    assert report["commit"]
    assert report["recipe"]["limit"] == 12
    assert "BLEU" in printed
    assert "](learning_curve.png)" in printed
    assert (out / "learning_curve.png").stat().st_size > 1000
    assert (out / "attention.png").stat().st_size > 1000


def test_the_card_names_every_source_and_quotes_the_evaluation(pipeline: Pipeline) -> None:
    facts = json.loads((pipeline.model / "export.json").read_text("utf-8"))
    card = (pipeline.model / "MODEL_CARD.md").read_text("utf-8")
    assert all(s["name"] in card and s["licence"] in card for s in facts["sources"]["sources"])
    assert len(facts["answers"]) == 20
    out = pipeline.root / "card-evaluation"
    figures = pipeline.root / "card.json"
    avikam(
        "eval", "--data", pipeline.corpus, "--model", pipeline.model, "--out", out,
        "--json", figures, "--limit", "4", "--task", "translation",
    )  # fmt: skip
    avikam("train", "card", pipeline.model, "--evaluation", figures)
    card = (pipeline.model / "MODEL_CARD.md").read_text("utf-8")
    bleu = json.loads(figures.read_text("utf-8"))["tasks"]["translation"]["fr-en"]["all"]["bleu"]
    assert f"| fr-en | all | {bleu} |" in card
    assert verify_checkpoint(pipeline.model) == []


def test_int8_costs_at_most_one_percent(pipeline: Pipeline) -> None:
    facts = json.loads((pipeline.model / "export.json").read_text("utf-8"))
    assert facts["calibration"]["cost_percent"] <= 1.0
    assert facts["calibration"]["tokens"] > 100


def test_mlflow_has_the_run(pipeline: Pipeline) -> None:
    kept = (pipeline.run / "mlflow_run_id").read_text("utf-8")
    folders = list((pipeline.root / "mlruns").glob(f"*/{kept}"))
    assert len(folders) == 1
    losses = (folders[0] / "metrics" / "loss").read_text("utf-8").splitlines()
    assert len(losses) == 150
    kept_cards = [
        path.read_text("utf-8")
        for path in (pipeline.root / "mlruns").glob("*/*/artifacts/MODEL_CARD.md")
    ]
    assert kept_cards
    assert all(card.startswith("# model") for card in kept_cards)
