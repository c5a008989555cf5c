"""Activations in groups, weights in four bits: the sums that numpy makes, in a fixed order."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from avikam.model.native.library import Library, load_library
from avikam.model.native.panels import GROUP, four_bits
from avikam.model.native.selftest import native_problem
from tests.model.native_product import (
    exact_sums,
    fused,
    int4_product,
    int8_product,
    quantised,
)
from tests.model.native_runs import levels

pytestmark = pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)


@pytest.fixture(params=levels())
def library(request: pytest.FixtureRequest) -> Library:
    return load_library(request.param)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 16, 33])
@pytest.mark.parametrize("group", [16, 64])
def test_int8_products_add_their_groups_from_first_to_last(
    library: Library, rows: int, group: int
) -> None:
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(-127, 128, (70, 192), generator=generator, dtype=torch.int8)
    scale = torch.rand(70, generator=generator)
    x = with_outliers(rows, 192, generator)
    row_codes, row_scale = quantised(x, group)
    total = np.zeros((rows, 70), np.float32)
    for g, sums in enumerate(exact_sums(codes, row_codes).swapaxes(0, 1)):
        total = fused(sums.astype(np.float32), row_scale[:, g, None], total)
    expected = torch.from_numpy(total * scale.numpy())
    assert torch.equal(int8_product(library, codes, scale, x, group), expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 16, 33])
def test_four_bit_products_are_those_of_numpy(library: Library, rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    codes, scale, least = four_bits(torch.randn(70, 192, generator=generator))
    x = with_outliers(rows, 192, generator)
    row_codes, row_scale = quantised(x, GROUP)
    total = np.zeros((rows, 70), np.float32)
    for g, sums in enumerate(exact_sums(codes, row_codes).swapaxes(0, 1)):
        of_row = row_scale[:, g, None]
        together = of_row * row_codes[:, g].sum(-1).astype(np.float32)[:, None]
        total = fused(sums.astype(np.float32), scale[:, g].float().numpy() * of_row, total)
        total = fused(least[:, g].float().numpy(), together, total)
    assert torch.equal(int4_product(library, codes, scale, least, x), torch.from_numpy(total))


def test_the_largest_four_bit_codes_do_not_saturate(library: Library) -> None:
    """32 times 15 * 127 is what sixteen bits barely hold."""
    codes = torch.full((32, 64), 15, dtype=torch.uint8)
    ones, none = torch.ones(32, 2, dtype=torch.float16), torch.zeros(32, 2, dtype=torch.float16)
    result = int4_product(library, codes, ones, none, torch.tensor([[1.0] * 64, [-1.0] * 64]))
    assert result[:, 0].tolist() == pytest.approx([15 * 64, -15 * 64], rel=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_gives_the_same_bits_alone_and_among_others(library: Library, bits: int) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(96, 128, generator=generator)
    x = with_outliers(19, 128, generator)
    codes, scale, least = four_bits(weight)
    small = (weight * 30).round().clamp(-127, 127).to(torch.int8)

    def product(rows: Tensor) -> Tensor:
        if bits == 4:
            return int4_product(library, codes, scale, least, rows)
        return int8_product(library, small, torch.ones(96), rows, 64)

    alone = torch.cat([product(x[row : row + 1]) for row in range(len(x))])
    assert torch.equal(product(x), alone)


def test_an_outlier_costs_its_own_group_alone(library: Library) -> None:
    """What groups are for: one channel of 1,000 must not round the others to nothing."""
    x = torch.rand(4, 256) + 1
    x[:, 7] = 1000.0
    codes = torch.full((32, 256), 100, dtype=torch.int8)
    codes[:, :64] = 0
    exact = x[:, 64:].sum(1, keepdim=True) * 100
    whole = int8_product(library, codes, torch.ones(32), x, 0)
    grouped = int8_product(library, codes, torch.ones(32), x, 64)
    assert ((whole - exact).abs() / exact).max() > 0.2
    assert ((grouped - exact).abs() / exact).max() < 0.005


@pytest.mark.parametrize("spread", [1e-4, 1.0, 300.0])
def test_weights_that_came_from_a_grid_of_sixteen_keep_it(spread: float) -> None:
    """A GGUF file's Q4_1 has half-precision scale and least per 32 weights, as four bits here."""
    generator = torch.Generator().manual_seed(2)
    steps = torch.randint(0, 16, (8, 4, 32), generator=generator)
    steps[..., :2] = torch.tensor([0, 15])
    scale = (torch.rand(8, 4, 1, generator=generator) * spread + spread / 100).half().float()
    least = (-torch.rand(8, 4, 1, generator=generator) * 8 * spread).half().float()
    codes, found_scale, found_least = four_bits((steps * scale + least).flatten(1))
    assert torch.equal(codes.unflatten(1, (4, 32)).long(), steps)
    assert torch.equal(found_scale.float(), scale.squeeze(-1))
    assert torch.equal(found_least.float(), least.squeeze(-1))


def with_outliers(rows: int, inputs: int, generator: torch.Generator) -> Tensor:
    x = torch.randn(rows, inputs, generator=generator)
    x[:, 5] *= 50
    return x
