"""Avikam1: its own folder speaks our words already."""

from __future__ import annotations

from avikam.model.checkpoint import expected_shapes
from avikam.model.config import ModelConfig
from avikam.model.families.recipes import Family, Recipe, one


def avikam1(config: ModelConfig) -> Family:
    """Every tensor as it is, under its own name."""
    shapes = expected_shapes(config)
    return Family(config, {name: Recipe({name: shape}, one) for name, shape in shapes.items()})
