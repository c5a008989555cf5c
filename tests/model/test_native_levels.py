"""Every kind of processor computes the same bits: a request may move between machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from avikam.model.native.build import LEVELS, NativeUnavailableError, choose_level
from avikam.model.native.library import Library, _load, load_library
from avikam.model.native.selftest import native_problem
from tests.model.builders import random_tokens
from tests.model.native_product import exact_sums, int8_product, quantised
from tests.model.native_runs import LENGTH, SHAPES, levels, native, run

pytestmark = pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)


@pytest.fixture(params=levels())
def library(request: pytest.FixtureRequest) -> Library:
    return load_library(request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [8, 4])
def test_all_levels_give_the_same_logits(shape: str, bits: Literal[4, 8]) -> None:
    config = SHAPES[shape].with_changes(intermediate_size=160, hidden_size=96, head_size=32)
    tokens = random_tokens(config, LENGTH)
    results = [
        run(*native(config, load_library(level), bits), tokens, [40, 1, 49]) for level in levels()
    ]
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 40])
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 16), (70, 48), (129, 576)])
def test_int8_products_are_those_of_numpy(
    library: Library, rows: int, outputs: int, inputs: int
) -> None:
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(-127, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
    scale = torch.rand(outputs, generator=generator)
    x = torch.randn(rows, inputs, generator=generator) * 3
    assert torch.equal(int8_product(library, codes, scale, x, 0), expected(codes, scale, x))


@pytest.mark.parametrize("weight", [-127, 127])
def test_the_largest_codes_do_not_saturate(library: Library, weight: int) -> None:
    """Pairs of 127 * 127 are what sixteen bits barely hold."""
    codes = torch.full((64, 1536), weight, dtype=torch.int8)
    x = torch.tensor([[1.0] * 1536, [-1.0] * 1536, [1.0, -1.0] * 768])
    result = int8_product(library, codes, torch.ones(64), x, 0)
    assert torch.equal(result, expected(codes, torch.ones(64), x))
    assert result[0, 0].item() == pytest.approx(weight * 1536, rel=1e-6)


def expected(codes: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    row_codes, row_scale = quantised(x, 0)
    sums = exact_sums(codes, row_codes)[:, 0].astype(np.float32)
    return torch.from_numpy(sums * scale.numpy() * row_scale)


def test_a_level_that_the_processor_lacks_is_refused_with_those_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = set(next(level for level in LEVELS if level.name == "avx2").needs)
    monkeypatch.setattr("avikam.model.native.build._processor_flags", lambda: flags)
    assert choose_level().name == "avx2"
    with pytest.raises(NativeUnavailableError, match=r"'avx512-vnni' is not among .*: avx2"):
        choose_level("avx512-vnni")


def test_a_compiler_that_is_too_old_for_the_best_level_builds_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if levels() == ["avx2"]:
        pytest.skip("this processor has one level only")
    compiler = tmp_path / "old-cc"
    refusal = 'case "$*" in *vnni*) echo "unknown option" >&2; exit 1;; esac'
    compiler.write_text(f'#!/bin/sh\n{refusal}\nexec cc "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("avikam.model.native.library._load", _load.__wrapped__)
    assert load_library().level == "avx2"
