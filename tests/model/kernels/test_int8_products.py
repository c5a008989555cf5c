"""The int8 kernels against the reference product, in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from avikam.model.gpu_int8 import TritonInt8, gpu_int8_linear, kernels_problem
from avikam.model.linear import FloatLinear, PortableInt8, quantize_activations
from avikam.model.quantize import dequantize_rows, quantize_rows

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def kernels() -> Any:
    from avikam.model.kernels import int8_products

    return int8_products


def quantised(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return quantize_rows(weight)


def inputs(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * 3


@pytest.mark.parametrize("rows", [1, 2, 17, 40])
@pytest.mark.parametrize("shape", [(70, 40), (64, 300)])
def test_w8a16_agrees_with_the_dequantised_product(
    kernels: Any, rows: int, shape: tuple[int, int]
) -> None:
    codes, scale = quantised(*shape)
    x = inputs(rows, shape[1])
    oracle = x @ dequantize_rows(codes, scale).T
    assert torch.allclose(kernels.w8a16(x, codes, scale), oracle, rtol=1e-4, atol=1e-3)


def test_rows_are_quantised_as_on_the_cpu(kernels: Any) -> None:
    x = inputs(9, 150)
    x[4] = 0
    codes, scale = kernels.quantize(x)
    expected, expected_scale = quantize_activations(x)
    assert torch.allclose(scale, expected_scale.squeeze(1))
    # A value half way between two steps may go either way.
    assert int((codes - expected).abs().max()) <= 1
    assert float((codes != expected).float().mean()) < 0.01


@pytest.mark.parametrize("rows", [3, 65])
def test_w8a8_agrees_with_the_cpus_exact_product(kernels: Any, rows: int) -> None:
    codes, scale = quantised(130, 200)
    x = inputs(rows, 200)
    ours, exact = kernels.w8a8(x, codes, scale), PortableInt8(codes, scale)(x)
    assert (ours - exact).norm() / exact.norm() < 2e-3


@pytest.mark.parametrize("rows", [1, 64, 65])
def test_the_layer_takes_the_kernel_that_fits_its_rows(rows: int) -> None:
    codes, scale = quantised(48, 96)
    x = inputs(rows, 96)
    ours = TritonInt8(codes, scale)(x.view(1, rows, 96))
    oracle = x @ dequantize_rows(codes, scale).T
    assert ours.shape == (1, rows, 48)
    # W8A16 loses nothing of x; W8A8 rounds it to 8 bits.
    assert (ours[0] - oracle).norm() / oracle.norm() < (1e-5 if rows <= 64 else 0.02)


def test_kernels_that_fail_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avikam.model.gpu_int8.kernels_problem", lambda device: "no compiler")
    codes, scale = quantised(48, 96)
    product = gpu_int8_linear(codes, scale)
    assert isinstance(product, FloatLinear)
    x = inputs(3, 96)
    oracle = x @ dequantize_rows(codes, scale).T
    assert (product(x.bfloat16()).float() - oracle).norm() / oracle.norm() < 0.01


def test_the_self_test_passes_here() -> None:
    assert kernels_problem("cpu") == ""
