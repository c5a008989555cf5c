"""A training step: number formats, Muon, steps that are not finite, what the folder records."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avikam.trainer.examples import Example
from avikam.trainer.metrics import read_metrics, step_note
from avikam.trainer.mixture import Mixture, Source
from avikam.trainer.muon import Muon, orthogonal
from avikam.trainer.precision import choose_iteration, choose_step
from avikam.trainer.pretrain import PretrainConfig, Pretraining
from avikam.trainer.progress import progress_bar, training_bar
from avikam.trainer.recipe import RecipeError, load_recipe
from avikam.trainer.run_record import RunChangedError, folder_digest, record_run
from avikam.trainer.state import load_state
from tests.trainer.builders import random_example, tiny_model

CPU = torch.device("cpu")
CONFIG = PretrainConfig(steps=6, rows=4, length=32, compile=False, validate_every=100)


def mixture(seed: int = 0) -> Mixture:
    def render(index: int, rng: np.random.Generator) -> Example:
        return random_example(random.Random(index), 20)

    return Mixture([Source("a", 50, 1.0, render)], seed)


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_muon_steps_as_torchs(shape: tuple[int, int]) -> None:
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    group: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.01, "momentum": 0.95}
    steps = (
        (ours, Muon([{"params": [ours]}], iteration=torch.bfloat16, **group)),
        (theirs, torch.optim.Muon([theirs], **group)),
    )
    for gradient in gradients:
        for weight, optimizer in steps:
            weight.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_orthogonal_keeps_directions_and_levels_lengths() -> None:
    matrix = torch.randn(16, 40)
    values = torch.linalg.svdvals(orthogonal(matrix, torch.float32))
    assert values.min() > 0.3
    assert values.max() < 1.5
    assert torch.sum(orthogonal(matrix, torch.float32) * matrix) > 0


def test_the_faster_format_is_chosen() -> None:
    """A step that burns time in one format only: the other one must win, whichever it is."""
    for slow in ("bfloat16", "float32"):
        weight = torch.ones(8, 8, requires_grad=True)

        def step(slow: str = slow, weight: torch.Tensor = weight) -> torch.Tensor:
            mixed = torch.is_autocast_enabled("cpu")
            if mixed == (slow == "bfloat16"):
                large = torch.randn(900, 900, dtype=torch.float64)
                large @ large
            return weight.sum()

        choice = choose_step("auto", CPU, step)
        assert choice.format != slow
        assert "CPU-s in float32" in choice.why


def test_a_format_that_the_recipe_names_is_not_measured() -> None:
    choice = choose_iteration("bfloat16", CPU, torch.randn(4, 4))
    assert (choice.format, choice.why) == (
        "bfloat16",
        "Muon's iteration in bfloat16, as the recipe says",
    )


def test_a_resumed_run_keeps_its_formats(tmp_path: Path) -> None:
    first = Pretraining(tmp_path, tiny_model(spread=1.0), mixture(), CONFIG)
    first.progress.formats.update(step="bfloat16", iteration="float32")
    first.save()
    again = Pretraining(tmp_path, tiny_model(spread=1.0), mixture(), CONFIG)
    assert again.progress.formats == {"step": "bfloat16", "iteration": "float32"}
    assert again.choices == ["step in bfloat16, as before", "iteration in float32, as before"]


class Spoiled(Pretraining):
    """A run whose loss is not finite at some steps."""

    spoiled: frozenset[int] = frozenset()

    def _backward(self, batch):  # type: ignore[no-untyped-def]
        loss = super()._backward(batch)
        return math.nan if self.progress.step + 1 in self.spoiled else loss


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    run = Spoiled(tmp_path, tiny_model(spread=1.0), mixture(), CONFIG)
    run.spoiled = frozenset({2, 4})
    run.run(lambda model: {}, lambda figures: None)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row.get("skipped", 0) for row in rows] == [0, 1, 0, 1, 0, 0]
    assert run.progress.skipped == 2
    assert all(torch.isfinite(w).all() for w in run._model.parameters())


def test_three_in_a_row_end_the_run_with_the_last_good_state(tmp_path: Path) -> None:
    run = Spoiled(tmp_path, tiny_model(spread=1.0), mixture(), CONFIG)
    run.spoiled = frozenset({3, 4, 5})
    good: list[torch.Tensor] = []

    def report(figures: dict[str, float]) -> None:
        if figures["step"] == 2:
            good.extend(weight.detach().clone() for weight in run._model.parameters())

    with pytest.raises(FloatingPointError, match="holds the last good state"):
        run.run(lambda model: {}, report)
    model = tiny_model(spread=1.0)
    load_state(tmp_path / "state.pt", model)
    for kept, now in zip(good, model.parameters(), strict=True):
        torch.testing.assert_close(kept, now)


def test_metrics_tell_tokens_speed_and_rates(tmp_path: Path) -> None:
    Pretraining(tmp_path, tiny_model(spread=1.0), mixture(), CONFIG).run(
        lambda model: {}, lambda figures: None
    )
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["tokens"] for row in rows] == [128 * (i + 1) for i in range(6)]
    assert all(row["tokens_per_second"] > 0 for row in rows)
    assert rows[2]["rate_matrices"] == pytest.approx(0.02 * rows[2]["rate"])
    assert "tokens/s" in step_note(rows[2])


def test_off_a_terminal_every_nth_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with training_bar("pretrain", 10) as update:
        for step in range(1, 51):
            update(step / 50, f"step {step}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("step ")[1].split()[0] for line in lines] == [
        "1",
        "11",
        "21",
        "31",
        "41",
        "50",
    ]
    assert "left" in lines[2]
    assert "100.0 %" in lines[-1]


def test_off_a_terminal_a_counted_task_says_when_it_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("clean", 3) as update:
        for _ in range(3):
            update(1, "")
    assert capsys.readouterr().err.splitlines() == ["clean  3/3"]


def test_a_folder_records_recipe_and_digests(tmp_path: Path) -> None:
    identity = {"tokenizer": "t1", "data": "d1"}
    assert record_run(tmp_path, CONFIG, 0, identity) == []
    assert load_recipe(PretrainConfig, tmp_path / "recipe.yaml") == CONFIG
    (start,) = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert start["tokenizer"] == "t1"
    assert torch.__version__.startswith(start["versions"]["torch"])


def test_a_change_is_noticed_once_the_run_has_begun(tmp_path: Path) -> None:
    record_run(tmp_path, CONFIG, 0, {"tokenizer": "t1", "data": "d1"})
    other = load_recipe(PretrainConfig, tmp_path / "recipe.yaml", rows=8)
    notes = record_run(tmp_path, other, 40, {"tokenizer": "t1", "data": "d2"})
    assert notes == [
        "changed since step 40: recipe.rows: 4 -> 8",
        "changed since step 40: data: d1 -> d2",
    ]
    assert len(json.loads((tmp_path / "run.json").read_text("utf-8"))) == 2


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    record_run(tmp_path, CONFIG, 0, {"tokenizer": "t1"})
    with pytest.raises(RunChangedError, match="another tokenizer"):
        record_run(tmp_path, CONFIG, 40, {"tokenizer": "t2"})


def test_a_folders_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = folder_digest(tmp_path)
    assert folder_digest(tmp_path) == first
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert folder_digest(tmp_path) != first


def test_settings_on_the_command_line_reach_inside() -> None:
    chosen = load_recipe(
        PretrainConfig, None, ["rates.matrices=0.5", "rows=3", "weights={chat: 1.0}"], steps=7
    )
    assert (chosen.rates.matrices, chosen.rows, chosen.steps) == (0.5, 3, 7)
    assert chosen.weights == {"chat": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows", "write it as key=value"),
        ("rows.x.y=1", "rows is"),
        ("rowz=1", "unknown key 'rowz'; did you mean 'rows'?"),
        ("rows=many", "rows"),
    ],
)
def test_a_setting_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("rows: 4\n")
    with pytest.raises(RecipeError) as raised:
        load_recipe(PretrainConfig, recipe, [text])
    assert message in str(raised.value)
