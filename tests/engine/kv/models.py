"""Small models without a checkpoint around them."""

from __future__ import annotations

from avikam.model.config import ModelConfig
from avikam.model.loading import from_float_weights, from_int8_weights
from avikam.model.transformer import Avikam1
from tests.model.builders import random_weights


def small_model(config: ModelConfig, kind: str) -> Avikam1:
    """A model of random weights, int8 or float."""
    build = from_int8_weights if kind == "int8" else from_float_weights
    return build(config, random_weights(config))
