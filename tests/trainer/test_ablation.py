"""The comparison of architectures, in miniature."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from avikam.model.config import preset
from avikam.model.reference import reference_logits
from avikam.model.transformer import Avikam1, initialize
from avikam.trainer.ablation.page import Measured, conclusions, report
from avikam.trainer.ablation.recipe import AblationRecipe
from avikam.trainer.ablation.variants import variant_config
from avikam.trainer.evaluation.beside import side_by_side
from tests.trainer.commands import avikam
from tests.trainer.conftest import PRETRAIN, Pipeline

BASE = preset("avikam1-nano").with_changes(num_layers=16)


def test_variants_are_of_equal_size_and_differ_in_one_thing() -> None:
    variants = {name: variant_config(BASE, name) for name in ("dense", "fg", "mixed", "swiglu")}
    sizes = [config.parameter_count() for config in variants.values()]
    assert max(sizes) / min(sizes) < 1.005
    assert variants["mixed"].layer_types.count("full") == 2
    assert variants["dense"].layer_types.count("full") == 16
    assert variants["fg"].layer_types.count("full") == 0
    assert variants["swiglu"].feed_forward == "swiglu"


def test_a_difference_within_the_noise_is_called_none() -> None:
    def row(name: str, loss: float) -> Measured:
        return Measured(name, 100, 10, loss, spread=0.01, by_position={})

    rows = [row("dense", 2.0), row("fg", 2.005), row("mixed", 2.0), row("swiglu", 1.9)]
    said = conclusions(rows)
    assert "no difference" in said[0]
    assert "better" in said[3]


def test_the_command_trains_every_variant_and_writes_the_page(pipeline: Pipeline) -> None:
    training = PRETRAIN | {
        "steps": 4, "rows": 2, "length": 96, "weights": {"everyday-pairs": 0.5, "long-prose": 0.5},
    }  # fmt: skip
    recipe = pipeline.recipe(
        "ablation", {"training": training, "seeds": [0], "valid_rows": 2, "items": 2}
    )
    page = pipeline.root / "ablation.md"
    words = (
        "train", "ablate", pipeline.corpus, pipeline.root / "ablation", "--tokenizer",
        pipeline.tokenizer, "--recipe", recipe, "--page", page,
    )  # fmt: skip
    printed = avikam(*words)
    assert "| dense | " in printed
    assert page.read_text("utf-8") in avikam(*words)
    assert all(f"| {name} |" in printed for name in ("fg", "mixed", "swiglu"))
    assert "| test | fr | all | " in printed
    assert "| fr-en | all | " in printed
    assert "| reading | fr | f1 | " in printed


def test_evaluations_stand_side_by_side_a_table_per_task() -> None:
    def report_of(bleu: float, hits: float) -> dict[str, Any]:
        scores = {"bleu": bleu, "chrf": 2 * bleu, "pairs": 9}
        return {
            "tasks": {
                "translation": {"fr-en": {"legal": scores, "all": scores}},
                "quiz": {"all": {"accuracy": hits, "chance": 0.25, "items": 3}},
                "memory": {"shape": {}},
            }
        }

    lines = side_by_side({"dense": report_of(1.5, 0.5), "fg": report_of(2.5, 0.25)}).split("\n")
    assert lines == [
        "### Translation, parallel/test",
        "",
        "| direction | domain | BLEU, dense | BLEU, fg | chrF, dense | chrF, fg |",
        "| --- | --- | --- | --- | --- | --- |",
        "| fr-en | all | 1.5 | 2.5 | 3.0 | 5.0 |",
        "| fr-en | legal | 1.5 | 2.5 | 3.0 | 5.0 |",
        "",
        "### Questions",
        "",
        "| task | language | score | dense | fg |",
        "| --- | --- | --- | --- | --- |",
        "| quiz | all | accuracy | 0.5 | 0.25 |",
    ]


def test_a_page_of_some_variants_compares_those() -> None:
    recipe = AblationRecipe(variants=("dense", "fg"), seeds=(0,))
    rows = [Measured(name, 100, 10, 2.0, spread=0.0, by_position={}) for name in recipe.variants]
    page = report(rows, BASE, recipe)
    assert "- fg against dense: +0.0000 nats" in page
    assert "swiglu" not in page.split("## Recipe")[0]
    with pytest.raises(ValueError, match="known: dense, fg, mixed, swiglu"):
        AblationRecipe(variants=("sparse",))


def test_within_the_window_fg_is_dense() -> None:
    """So the dense baseline of a model trained on rows of 256 tokens is that model itself."""
    fg = preset("avikam1-test").with_changes(window=32, stride=8, max_positions=64)
    dense = variant_config(fg, "dense")
    model = Avikam1(fg)
    initialize(model, 0)
    weights, tokens = dict(model.state_dict()), list(range(64))
    ours = reference_logits(weights, fg, tokens)
    theirs = reference_logits(weights, dense, tokens)
    torch.testing.assert_close(ours[:33], theirs[:33])
    assert not torch.allclose(ours[33:], theirs[33:])
