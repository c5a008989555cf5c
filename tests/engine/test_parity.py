"""The engine against the oracle: every position of prompts of 1 to 2,047 tokens and an answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avikam.engine.interface import TokenChoice
from avikam.model.checkpoint import load_checkpoint
from avikam.model.quantize import float_state
from avikam.model.reference import reference_logits
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine
from tests.model.builders import tiny_checkpoint

FULL_WINDOW: dict[str, Any] = {"window": 256, "stride": 64, "max_positions": 2048}
EDGES = (1, 2, 63, 64, 65, 255, 256, 257, 320, 321, 2047)


@pytest.fixture(scope="module")
def full_window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("full-window"), **FULL_WINDOW)


@pytest.mark.parametrize("token_budget", [64, 192, 512])
def test_prompts_in_one_crowd_get_the_references_logprobs(
    build: BuildEngine, full_window: Path, token_budget: int
) -> None:
    """They share the steps: the budget decides where each prompt is cut into chunks."""
    stored = load_checkpoint(full_window)
    weights = float_state(stored.weights)
    engine = build(model=full_window, weights="float32", slots=4, token_budget=token_budget)
    rng = random.Random(token_budget)
    lengths = (*EDGES, *(rng.randint(2, 1200) for _ in range(4)))
    prompts = [rng.choices(range(10, 300), k=length) for length in lengths]
    answers = [
        ask(engine, prompt, max_tokens=1, logprobs=20, prompt_logprobs=20) for prompt in prompts
    ]
    for prompt, answer in zip(prompts, answers, strict=True):
        said = [*answer.finish.prompt_choices, *answer.deltas[0].choices]
        assert [choice.token for choice in said[:-1]] == prompt[1:]
        oracle = reference_logits(weights, stored.config, prompt).log_softmax(dim=-1)
        assert worst_difference(said, oracle) < 1e-4, f"a prompt of {len(prompt)} tokens"


def worst_difference(said: Sequence[TokenChoice], oracle: Tensor) -> float:
    """Largest distance of a logprob, of the chosen tokens and the top 20, from ``oracle``
    [positions, vocab].
    """
    pairs = [((choice.token, choice.logprob), *choice.top) for choice in said]
    ids = torch.tensor([[token for token, _ in row] for row in pairs])
    ours = torch.tensor([[value for _, value in row] for row in pairs], dtype=oracle.dtype)
    assert ids.shape == (len(oracle), 21)
    return float((ours - oracle.gather(1, ids)).abs().max())
