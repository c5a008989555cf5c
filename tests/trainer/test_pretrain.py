"""Pretraining: killed and resumed, on several ranks, with recomputed activations."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from avikam.trainer.examples import Example
from avikam.trainer.loss import every_nth_layer, hidden_states, summed_loss
from avikam.trainer.metrics import MetricsFile, read_metrics
from avikam.trainer.mixture import Mixture, Source
from avikam.trainer.packing import Batch, pack
from avikam.trainer.pretrain import PretrainConfig, Pretraining
from tests.trainer.builders import random_example, tiny_model
from tests.trainer.commands import avikam, start
from tests.trainer.conftest import PRETRAIN, Pipeline

SHORT = PRETRAIN | {"steps": 40, "checkpoint_seconds": 0.3, "validate_every": 20}


def losses(run: Path) -> list[float]:
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(pipeline: Pipeline) -> list[float]:
    """The loss curve of one run from start to end."""
    recipe = pipeline.recipe("short", SHORT)
    out = pipeline.root / "uninterrupted"
    avikam(
        "train", "pretrain", pipeline.corpus, out, "--tokenizer", pipeline.tokenizer,
        "--recipe", recipe, "--device", "cpu",
    )  # fmt: skip
    return losses(out)


def test_a_run_killed_at_a_random_step_resumes_with_the_same_loss_curve(
    pipeline: Pipeline, uninterrupted: list[float]
) -> None:
    out = pipeline.root / "killed"
    words = (
        "train", "pretrain", pipeline.corpus, out, "--tokenizer", pipeline.tokenizer,
        "--recipe", pipeline.recipe("short", SHORT), "--device", "cpu",
    )  # fmt: skip
    process = start(*words)
    wait_for_step(out, random.randrange(3, 25))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert len(read_metrics(out / "metrics.jsonl")) < 40
    avikam(*words)
    assert losses(out) == pytest.approx(uninterrupted, abs=1e-3)


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a run has finished ``step`` and written a state."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        metrics = run / "metrics.jsonl"
        if (run / "state.pt").exists() and len(read_metrics(metrics)) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"{run} did not reach step {step}")


def test_two_ranks_train_as_one(pipeline: Pipeline, uninterrupted: list[float]) -> None:
    out = pipeline.root / "ranks"
    process = start(
        "--nproc-per-node", "2", "-m", "avikam", "train", "pretrain", pipeline.corpus, out,
        "--tokenizer", pipeline.tokenizer, "--recipe", pipeline.recipe("short", SHORT),
        "--device", "cpu", module="torch.distributed.run",
    )  # fmt: skip
    assert process.wait(110) == 0
    # Muon's orthogonalisation magnifies the order of the ranks' sums a little.
    assert losses(out) == pytest.approx(uninterrupted, abs=1e-2)
    assert losses(out)[:5] == pytest.approx(uninterrupted[:5], abs=1e-3)


def random_batch(seed: int, rows: int = 4) -> Batch:
    rng = random.Random(seed)
    return pack(iter([random_example(rng, rng.randrange(5, 40)) for _ in range(60)]), rows, 48)


def test_recomputed_layers_give_the_same_gradients() -> None:
    assert every_nth_layer(16, 8) == {7, 15}
    batch = random_batch(0)
    gradients = []
    for layers in (frozenset[int](), frozenset({0, 1})):
        model = tiny_model(spread=1.0)
        summed_loss(model, hidden_states(model, batch, layers), batch.targets).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def one_step(folder: Path, micro_rows: int) -> dict[str, float]:
    """The figures of a first step in pieces of ``micro_rows``."""

    def render(index: int, rng: np.random.Generator) -> Example:
        return random_example(random.Random(index), 20)

    config = PretrainConfig(
        steps=2, rows=8, micro_rows=micro_rows, length=32, compile=False, precision="float32"
    )
    mixture = Mixture([Source("a", 50, 1.0, render)], 0)
    run = Pretraining(folder, tiny_model(spread=1.0), mixture, config)
    seen: list[dict[str, float]] = []
    run.run(lambda model: {}, seen.append)
    return seen[-1]


def test_pieces_of_a_batch_train_as_the_whole(tmp_path: Path) -> None:
    whole, pieces = one_step(tmp_path / "whole", 0), one_step(tmp_path / "pieces", 3)
    assert pieces["loss"] == pytest.approx(whole["loss"], abs=1e-4)
    assert pieces["norm"] == pytest.approx(whole["norm"], rel=1e-3)


def test_lines_after_the_checkpoint_and_a_cut_off_line_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste', encoding="utf-8")
    MetricsFile(path, resumed_at=2).append({"step": 3, "loss": 1.0})
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 1.0}]


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_last_state(
    tmp_path: Path,
) -> None:
    def render(index: int, rng: np.random.Generator) -> Example:
        return random_example(random.Random(index), 20)

    model = tiny_model()
    config = PretrainConfig(steps=5, rows=2, length=32, compile=False, precision="float32")
    run = Pretraining(tmp_path, model, Mixture([Source("a", 50, 1.0, render)], 0), config)
    run.save()
    model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss nan .* at step 3"):
        run.run(lambda m: {}, lambda figures: None)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert bool(kept["model"]["norm.weight"].isfinite().all())
