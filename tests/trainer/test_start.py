"""Training on from a checkpoint's weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainer.commands import avikam
from tests.trainer.conftest import PRETRAIN, Pipeline


def train_on(pipeline: Pipeline, run: Path, **changes: object) -> str:
    recipe = pipeline.recipe(run.name, PRETRAIN | {"steps": 3, "warmup": 0.0} | changes)
    return avikam(
        "train", "pretrain", pipeline.corpus, run, "--tokenizer", pipeline.tokenizer,
        "--recipe", recipe, "--device", "cpu", "--start", pipeline.model,
        status=2 if changes else 0,
    )  # fmt: skip


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_run_begins_where_the_checkpoint_stood(pipeline: Pipeline, tmp_path: Path) -> None:
    train_on(pipeline, tmp_path / "on")
    fresh, learnt = losses(pipeline.run)[0], losses(pipeline.run)[-20:]
    assert losses(tmp_path / "on")[0] < max(learnt) + 0.2 < fresh / 2


def test_the_card_tells_of_both_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    train_on(pipeline, tmp_path / "on")
    avikam(
        "train", "export", tmp_path / "on" / "state.pt", tmp_path / "model",
        "--tokenizer", pipeline.tokenizer, "--data", pipeline.corpus,
    )  # fmt: skip
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text("utf-8")
    assert "Trained from scratch: 150 steps" in card
    assert "Then on from those weights, as stored: 3 steps" in card


def test_another_shape_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    said = train_on(pipeline, tmp_path / "other", model_changes={"num_layers": 1})
    assert f"{pipeline.model} is another model than the recipe's" in said


@pytest.mark.parametrize("name", ["exercises", "prosa"])
def test_a_share_for_no_source_is_refused(pipeline: Pipeline, tmp_path: Path, name: str) -> None:
    said = train_on(pipeline, tmp_path / "typo", weights={name: 1.0})
    assert f"no source is named {name!r}; weights take everyday-pairs" in said
