"""Rotary positions (Su et al. 2021, arXiv 2104.09864), half-split form."""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.model.config import ModelConfig


def rotary_table(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """cos and sin of every position: [max_positions, 2, head_dim / 2]."""
    half = config.head_dim // 2
    exponents = torch.arange(half, dtype=torch.float64) / half
    angles = torch.outer(
        torch.arange(config.max_positions, dtype=torch.float64), config.rope_theta**-exponents
    )
    return torch.stack((angles.cos(), angles.sin()), dim=1).to(dtype)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn ``x`` [..., heads, head_dim] by its positions' table rows [..., 2, head_dim / 2]."""
    cos, sin = table.unsqueeze(-3).unbind(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
