"""What int8 costs: perplexity of the same text in float32 and as the int8 model is served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.loading import from_float_weights, from_int8_weights
from avikam.model.quantize import dequantize_rows, quantize_rows
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import log_likelihoods


def calibrate(
    config: ModelConfig, weights: Mapping[str, Tensor], examples: Sequence[Example]
) -> dict[str, Any]:
    """Perplexities, their ratio, and the relative error of the worst matrices.

    Activations are quantised row by row as they come, so there is no range to learn: the report
    measures, it does not tune.
    """
    full = _perplexity(from_float_weights(config, dict(weights)), examples)
    small = _perplexity(from_int8_weights(config, dict(weights)), examples)
    errors = {n: _relative_error(w) for n, w in weights.items() if w.dim() == 2}
    worst = sorted(errors, key=lambda name: errors[name], reverse=True)[:5]
    return {
        "tokens": sum(sum(e.counts) for e in examples),
        "perplexity_float32": round(full, 4),
        "perplexity_int8": round(small, 4),
        "cost_percent": round(100 * (small / full - 1), 3),
        "worst_matrices": {name: round(errors[name], 5) for name in worst},
    }


def _perplexity(model: torch.nn.Module, examples: Sequence[Example]) -> float:
    scored = log_likelihoods(model, examples)  # type: ignore[arg-type]
    tokens = sum(likelihood.tokens for likelihood in scored)
    return math.exp(-sum(likelihood.log_probability for likelihood in scored) / tokens)


def _relative_error(weight: Tensor) -> float:
    """Norm of what int8 loses over the norm of the matrix."""
    weight = weight.float()
    return float((dequantize_rows(*quantize_rows(weight)) - weight).norm() / weight.norm())
