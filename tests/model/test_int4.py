"""Four-bit weights: how near they are, and that every product computes the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from avikam.engine.build import EngineOptions, build_engine
from avikam.model.attention.float_slots import FloatSlots
from avikam.model.bitsandbytes_linear import LlmInt8, Nf4, bitsandbytes_problem
from avikam.model.checkpoint import CheckpointError, load_checkpoint
from avikam.model.int4 import (
    PackedInt4,
    PortableInt4,
    UngroupableError,
    int4_linear,
    packed_problem,
    quantize_groups,
)
from avikam.model.loading import WeightType, build_model, load_model, resolve_weight_type
from avikam.model.reference import reference_logits
from tests.engine.client import ask
from tests.model.builders import random_tokens, random_weights, small_config, tiny_checkpoint
from tests.model.test_attention import cuts, run

needs_packed = pytest.mark.skipif(bool(packed_problem("cpu")), reason="no packed int4 product here")
needs_bitsandbytes = pytest.mark.skipif(
    bool(bitsandbytes_problem()), reason="bitsandbytes is missing"
)


def matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("columns", "group"), [(384, 64), (960, 64), (160, 32)])
def test_weights_are_within_half_a_step_of_their_group(columns: int, group: int) -> None:
    weight = matrix(48, columns)
    weight[7] = 0.25
    four = quantize_groups(weight)
    assert four.group == group
    assert int(four.codes.max()) == 15
    error = (four.dequantize() - weight).abs().unflatten(1, (-1, group))
    # Half a step, and what rounding scale and centre to bfloat16 costs.
    assert bool((error <= four.scale.float().unsqueeze(-1) * 0.58 + 1e-3).all())


def test_rows_that_no_group_fits_are_refused() -> None:
    with pytest.raises(UngroupableError, match="rows of 40 weights cannot be cut"):
        quantize_groups(matrix(8, 40))


@needs_packed
@pytest.mark.parametrize("shape", [(1152, 384), (384, 960), (64, 160)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_packed_and_portable_products_agree(shape: tuple[int, int], dtype: torch.dtype) -> None:
    four = quantize_groups(matrix(*shape))
    x = matrix(2, 3 * shape[1]).view(2, 3, shape[1]).to(dtype)
    packed, portable = PackedInt4(four)(x), PortableInt4(four)(x)
    oracle = F.linear(x.float(), four.dequantize())
    for ours in (packed, portable):
        assert ours.shape == oracle.shape
        assert ours.dtype == dtype
        assert (ours.float() - oracle).norm() / oracle.norm() < 0.01


def test_the_portable_product_keeps_two_codes_in_a_byte() -> None:
    product = PortableInt4(quantize_groups(matrix(64, 128)))
    assert product._pairs.nbytes == 64 * 128 // 2


def test_a_shape_that_cannot_be_packed_runs_portably() -> None:
    weight = matrix(30, 64)
    x = matrix(3, 64)
    oracle = F.linear(x, quantize_groups(weight).dequantize())
    assert (int4_linear(weight)(x) - oracle).norm() / oracle.norm() < 0.01


@pytest.mark.parametrize("kind", ["int4", "nf4", "llm-int8"])
def test_logits_stay_near_the_reference(kind: WeightType) -> None:
    if kind != "int4" and bitsandbytes_problem():
        pytest.skip("bitsandbytes is missing")
    config = small_config()
    weights = random_weights(config, spread=2.0)
    tokens = random_tokens(config, 60)
    oracle = reference_logits(weights, config, tokens)
    model = build_model(config, weights, kind)
    ours = run(model, FloatSlots(config, 2, dtype=torch.bfloat16), tokens, cuts(60, 8))
    assert (ours - oracle).norm() / oracle.norm() < (0.05 if kind == "llm-int8" else 0.3)


@needs_bitsandbytes
@pytest.mark.parametrize(("product", "worst"), [(LlmInt8, 0.02), (Nf4, 0.12)])
def test_bitsandbytes_products_are_as_near_as_their_bits(
    product: type[LlmInt8 | Nf4], worst: float
) -> None:
    weight, x = matrix(384, 960).bfloat16(), matrix(5, 960).bfloat16()
    oracle = F.linear(x.float(), weight.float())
    assert (product(weight)(x).float() - oracle).norm() / oracle.norm() < worst


def test_bitsandbytes_types_are_refused_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint(tmp_path / "tiny"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="weights nf4: bitsandbytes is not installed"):
        resolve_weight_type("nf4", checkpoint)


def test_a_checkpoint_that_no_group_fits_is_named(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "narrow", intermediate_size=40)
    with pytest.raises(CheckpointError, match="narrow: rows of 40 weights"):
        load_model(load_checkpoint(folder), "int4")


def test_the_engine_serves_four_bit_weights(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny")
    config = load_checkpoint(folder).config
    engine = build_engine(EngineOptions(folder, weights="int4", slots=4, token_budget=64))
    try:
        answers = [
            ask(engine, random_tokens(config, 9, i), max_tokens=8, ignore_eos=True, temperature=0.0)
            for i in range(3)
        ]
        assert all(len(answer.wait().tokens) == 8 for answer in answers)
        assert engine.model.weights == "int4"
    finally:
        engine.close()
