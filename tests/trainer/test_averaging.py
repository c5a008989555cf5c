"""Means of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avikam.trainer.averaging import average
from avikam.trainer.state import Progress, read_average, read_progress, read_weights, save_state
from tests.trainer.builders import tiny_checkpoint, tiny_model


def state(path: Path, scale: float, **changes: int) -> Path:
    """A tiny model's state with all weights times ``scale``."""
    model = tiny_model(spread=1.0, **changes)
    for weight in model.parameters():
        weight.data.mul_(scale)
    save_state(path, model, [], Progress(step=int(scale), tokens=7))
    return path


def test_the_mean_of_states_has_the_last_ones_progress(tmp_path: Path) -> None:
    states = [state(tmp_path / f"{scale}.pt", scale) for scale in (1, 2, 6)]
    average(states, tmp_path / "mean.pt")
    _, mean = read_weights(tmp_path / "mean.pt")
    _, first = read_weights(states[0])
    for name, weight in mean.items():
        torch.testing.assert_close(weight, 3 * first[name])
    assert read_progress(tmp_path / "mean.pt").step == 6
    assert read_average(tmp_path / "mean.pt") == "mean of 3 state(s)"
    assert read_average(states[0]) == ""


def test_a_mixture_lies_between_run_and_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_checkpoint(base, spread=1.0)
    run = state(tmp_path / "run.pt", 3)
    average([run], tmp_path / "mixed.pt", base, 0.25)
    mixed, learnt = (read_weights(tmp_path / name)[1] for name in ("mixed.pt", "run.pt"))
    for name, weight in mixed.items():
        torch.testing.assert_close(weight, learnt[name] / 2, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    ("share", "message"), [(0.0, "share is 0"), (1.5, "share is 1.5"), (0.5, "1 without")]
)
def test_a_share_that_makes_no_mixture_is_refused(
    tmp_path: Path, share: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        average([state(tmp_path / "a.pt", 1)], tmp_path / "out.pt", None, share)


def test_other_models_are_refused(tmp_path: Path) -> None:
    states = [state(tmp_path / "a.pt", 1), state(tmp_path / "b.pt", 1, window=16)]
    with pytest.raises(ValueError, match="another model than"):
        average(states, tmp_path / "out.pt")
