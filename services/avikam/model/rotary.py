"""Rotary positions (Su et al. 2021, arXiv 2104.09864), half-split form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.rope_scaling import RopeScaling


def rotary_table(
    config: ModelConfig, dtype: torch.dtype = torch.float32, *, local: bool = False
) -> Tensor:
    """cos and sin of every position: [max_positions, 2, head_dim / 2].

    ``local`` is the table of window layers where the model gives them a theta of their own.
    """
    half = config.head_dim // 2
    exponents = torch.arange(half, dtype=torch.float64) / half
    scaling = RopeScaling() if local else config.rope_scaling
    theta = config.rope_local_theta if local else config.rope_theta
    frequencies = stretched(theta**-exponents, theta, scaling)
    positions = torch.arange(config.max_positions, dtype=torch.float64)
    angles = torch.outer(positions, frequencies)
    table = torch.stack((angles.cos(), angles.sin()), dim=1)
    if scaling.kind == "yarn":
        table *= scaling.attention_factor
    return table.to(dtype)


def stretched(frequencies: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """Frequencies [head_dim / 2], in turns of radians per position, after scaling."""
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        return _by_wavelength(frequencies, scaling)
    if scaling.kind == "yarn":
        return _by_dimension(frequencies, theta, scaling)
    return frequencies


def _by_wavelength(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3: few turns over the first length are slowed down, many are kept, between: mixed."""
    turns = scaling.original_positions * frequencies / (2 * math.pi)
    low, high = scaling.low_frequency, scaling.high_frequency
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def _by_dimension(frequencies: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """YaRN: the same by a straight ramp between two dimensions."""
    size = 2 * len(frequencies)

    def dimension(turns: float) -> float:
        """The one that turns so often over the first length."""
        length = scaling.original_positions / (turns * 2 * math.pi)
        return size * math.log(length) / (2 * math.log(theta))

    first, last = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    width = (last - first) or 0.001  # a ramp of no width is a step
    index = torch.arange(len(frequencies), dtype=frequencies.dtype)
    slowed = ((index - first) / width).clamp(0, 1)
    return frequencies * (1 - slowed + slowed / scaling.factor)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn ``x`` [..., heads, head_dim] by its positions' table rows [..., 2, head_dim / 2]."""
    cos, sin = table.unsqueeze(-3).unbind(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
