"""The recipes that ship are the ones the commands accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avikam.model.config import preset
from avikam.trainer.ablation.recipe import AblationRecipe
from avikam.trainer.backtranslation import BacktranslationRecipe
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.everything import EverythingRecipe
from avikam.trainer.export.export import ExportRecipe
from avikam.trainer.finetuning.recipe import FinetuneRecipe
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.pretrain import PretrainConfig
from avikam.trainer.recipe import RecipeError, load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
CLASSES: dict[str, type[Any]] = {
    "ablation": AblationRecipe,
    "backtranslate": BacktranslationRecipe,
    "corpus": CorpusRecipe,
    "eval": EvalRecipe,
    "export": ExportRecipe,
    "finetune": FinetuneRecipe,
    "pretrain": PretrainConfig,
    "toy": EverythingRecipe,
}


def test_the_toy_recipe_has_a_section_for_every_command() -> None:
    toy = load_recipe(EverythingRecipe, FOLDER / "toy.yaml")
    assert load_recipe(PretrainConfig, FOLDER / "toy.yaml") == toy.pretrain
    assert load_recipe(FinetuneRecipe, FOLDER / "toy.yaml") == toy.finetune
    assert toy.pretrain.model == "avikam1-test"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    loaded = load_recipe(CLASSES[path.stem.split("-")[0]], path)
    if isinstance(loaded, PretrainConfig):
        assert preset(loaded.model).with_changes(**loaded.model_changes).parameter_count() > 0


def test_the_specified_finetuning_is_both_the_file_and_the_default() -> None:
    assert load_recipe(FinetuneRecipe, FOLDER / "finetune.yaml") == FinetuneRecipe()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz: 3", r"unknown key 'stepz'; did you mean 'steps'\?"),
        ("steps: many", "steps: Input should be a valid integer"),
        ("rates: {matrix: 1}", "matrix"),
        ("- 1", "needs `key: value` lines"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=said):
        load_recipe(PretrainConfig, path)
