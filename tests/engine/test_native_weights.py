"""Four-bit weights through the native step: an answer does not depend on its company."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from avikam.model.backends import Backend
from avikam.model.native.selftest import native_problem
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine
from tests.model.builders import small_config

pytestmark = pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_answers_are_the_same_alone_together_and_resumed(build: BuildEngine, weights: str) -> None:
    prompts = [[1, *range(20 + i, 30 + 3 * i)] for i in range(6)]
    engine = build(weights=weights, slots=6)
    assert engine.model.attention_backend == "cpu-int8-native"
    alone = [ask(engine, prompt, max_tokens=12).tokens for prompt in prompts]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda p: ask(engine, p, max_tokens=12).tokens, prompts))
    assert together == alone
    done = tuple(alone[0][:5])
    assert ask(engine, prompts[0], generated=done, max_tokens=12).tokens == alone[0][5:]


def test_a_shape_that_four_bits_cannot_have_runs_through_pytorch() -> None:
    config = small_config(intermediate_size=80)
    assert "intermediate_size 80 is not a multiple of 32" in Backend("int4").native_problem(config)
    assert Backend("int4").slots(config, 1).name != "cpu-int8-native"
    assert Backend("int8").slots(config, 1).name == "cpu-int8-native"
