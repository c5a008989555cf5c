"""The mean of several states' weights, and of a run's weights with those it began from.

Late states of one run average out the noise of the last steps (Izmailov et al. 2018, arXiv
1803.05407). Mixed with the weights the run began from, a model keeps most of what it knew before
and most of what it learnt (Wortsman et al. 2022, arXiv 2109.01903). Which mean is best is for a
held-out evaluation to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import ModelConfig
from avikam.model.quantize import float_state
from avikam.trainer.state import read_progress, read_weights


def average(states: Sequence[Path], out: Path, base: Path | None = None, share: float = 1.0) -> str:
    """Write a state with the mean of ``states``, mixed with the checkpoint folder ``base``.

    ``share`` is the states' part of the mixture. The result has the last state's progress and no
    optimisers: to export, to measure, to begin from; not to resume. ValueError when the models
    differ or the share is not within 0..1.
    """
    if not 0 < share <= 1 or (base is None and share != 1):
        raise ValueError(f"share is {share}; give 0..1 with a base, 1 without")
    config, weights = _mean(states)
    if base:
        weights = _mixed(weights, _base_weights(base, config), share)
    progress = read_progress(states[-1])
    note = f"mean of {len(states)} state(s)" + (
        f", {share:g} of it and the rest {base}" * bool(base)
    )
    payload = {
        "config": config.to_json(),
        "model": weights,
        "optimizers": [],
        "progress": [getattr(progress, field.name) for field in fields(progress)],
        "averaged": note,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_suffix(".partial")
    torch.save(payload, beside)
    beside.replace(out)
    return f"{out}: {note}"


def _mean(states: Sequence[Path]) -> tuple[ModelConfig, dict[str, Tensor]]:
    if not states:
        raise ValueError("there is no state to average; give at least one state.pt")
    config, total = read_weights(states[0])
    total = {name: weight.double() for name, weight in total.items()}
    for path in states[1:]:
        other, weights = read_weights(path)
        if other != config:
            raise ValueError(f"{path} is another model than {states[0]}")
        total = {name: total[name] + weights[name] for name in total}
    return config, {name: (weight / len(states)).float() for name, weight in total.items()}


def _base_weights(base: Path, config: ModelConfig) -> dict[str, Tensor]:
    checkpoint = load_checkpoint(base)
    if checkpoint.config.with_changes(name="") != config.with_changes(name=""):
        raise ValueError(f"{base} is another model than the states")
    weights = float_state(checkpoint.weights)
    if config.tie_embeddings:
        weights["head.weight"] = weights["embed.weight"]
    return weights


def _mixed(
    learnt: Mapping[str, Tensor], base: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {name: torch.lerp(base[name].float(), weight, share) for name, weight in learnt.items()}
