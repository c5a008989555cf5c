"""A mixture of four experts, two active: against the oracle, in every cut, and written to disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.engine.build import EngineOptions, build_engine
from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import preset
from avikam.model.loading import from_float_weights, from_int8_weights
from avikam.model.mixture import Mixture
from avikam.model.reference import reference_logits
from avikam.model.transformer import Avikam1, Block, initialize
from avikam.model.untrained import write_untrained
from tests.engine.client import Answer, ask
from tests.model.builders import random_tokens, random_weights, small_config, tiny_checkpoint
from tests.model.test_attention import cuts, run

CONFIG = small_config(num_experts=4, active_experts=2)


def first_mixture(model: Avikam1) -> Mixture:
    block = model.blocks[0]
    assert isinstance(block, Block)
    assert isinstance(block.ffn, Mixture)
    return block.ffn


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_float_logits_agree_with_the_reference(feed_forward: str) -> None:
    config = CONFIG.with_changes(feed_forward=feed_forward)
    weights = random_weights(config)
    tokens = random_tokens(config, 60)
    oracle = reference_logits(weights, config, tokens)
    ours = run(from_float_weights(config, weights), FloatSlots(config, 2), tokens, cuts(60, 8))
    assert (ours - oracle).abs().max() < 1e-4


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=6, max_size=12), st.integers(0, 99))
def test_int8_logits_are_the_same_bits_for_every_cut(sizes: list[int], seed: int) -> None:
    length = sum(sizes)
    model = from_int8_weights(CONFIG, random_weights(CONFIG))
    tokens = random_tokens(CONFIG, length, seed)
    one_by_one = run(model, Int8Slots(CONFIG, 2), tokens, [1] * length)
    assert torch.equal(run(model, Int8Slots(CONFIG, 2), tokens, sizes), one_by_one)


def test_each_row_meets_its_two_best_experts_only() -> None:
    model = from_float_weights(CONFIG, random_weights(CONFIG))
    mixture = first_mixture(model)
    rows = torch.randn(50, CONFIG.hidden_size, generator=torch.Generator().manual_seed(0))
    shares = mixture.shares(rows)
    assert bool(((shares > 0).sum(dim=-1) == 2).all())
    assert torch.allclose(shares.sum(dim=-1), torch.ones(50))
    assert len(shares.argmax(dim=-1).unique()) == 4, "every expert is somebody's best"


def test_the_shape_that_a_graph_needs_computes_the_same() -> None:
    model = from_float_weights(CONFIG, random_weights(CONFIG))
    mixture = first_mixture(model)
    rows = torch.randn(9, CONFIG.hidden_size, generator=torch.Generator().manual_seed(0))
    shares = mixture.shares(rows)
    apart = mixture.where_chosen(rows, shares)
    assert torch.allclose(mixture.everywhere(rows, shares), apart, atol=1e-6)


def test_gradients_reach_the_router_and_every_expert() -> None:
    model = Avikam1(CONFIG)
    initialize(model, seed=1)
    mixture = first_mixture(model)
    rows = torch.randn(2, 25, CONFIG.hidden_size, generator=torch.Generator().manual_seed(0))
    mixture(rows).square().sum().backward()
    norms = [0.0 if p.grad is None else float(p.grad.norm()) for p in mixture.parameters()]
    assert all(norm > 0 for norm in norms)


def test_the_engine_serves_an_int8_mixture(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "moe", num_experts=4, active_experts=2)
    stored = load_checkpoint(folder)
    assert stored.weights["blocks.0.ffn.experts.3.up_proj.weight"].dtype == torch.int8
    engine = build_engine(EngineOptions(folder, slots=8, token_budget=64, threads=1))

    def answer(prompt: list[int]) -> Answer:
        return ask(engine, prompt, max_tokens=12, temperature=0.0, ignore_eos=True)

    try:
        prompts = [random_tokens(stored.config, 5 + i, seed=i) for i in range(6)]
        crowd = [a.wait().tokens for a in [answer(prompt) for prompt in prompts]]
        alone = [answer(prompt).wait().tokens for prompt in prompts]
    finally:
        engine.close()
    assert crowd == alone
    assert all(len(tokens) == 12 for tokens in crowd)


def test_untrained_mixtures_can_be_written(tmp_path: Path) -> None:
    tokenizer = (tiny_checkpoint(tmp_path / "tiny") / "tokenizer.model").read_bytes()
    for seed in (None, 3):
        write_untrained(tmp_path / f"moe-{seed}", CONFIG, tokenizer, "int8", seed)
        assert load_checkpoint(tmp_path / f"moe-{seed}").config.num_experts == 4


def test_only_active_experts_count_for_a_token() -> None:
    config = preset("avikam1-60m-moe")
    one = config.num_layers * 2 * config.hidden_size * config.intermediate_size
    assert config.parameter_count() - config.parameter_count(active=True) == 2 * one
