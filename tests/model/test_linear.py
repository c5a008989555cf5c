"""Where an operator is missing or wrong: other products, the same numbers, and the log says why."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from avikam.model import linear
from avikam.model.linear import (
    FloatLinear,
    OneDnnInt8,
    PortableInt8,
    float_linear,
    int8_linear,
    onednn_problem,
)


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    """The self-test runs once per process: these tests need it to run again."""
    onednn_problem.cache_clear()
    yield
    onednn_problem.cache_clear()


def missing(*_: Any) -> None:
    raise AttributeError("no such operator")


class _Wrong(OneDnnInt8):
    """An operator that saturates, as some processors' did."""

    def multiply(self, codes: torch.Tensor) -> torch.Tensor:
        return super().multiply(codes.clamp(-64, 63))


def quantised() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-127, 128, (24, 64), generator=generator, dtype=torch.int8)
    return codes, torch.rand(24, generator=generator)


def test_without_onednns_operator_the_portable_product_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    usual = int8_linear(*quantised())(x)
    onednn_problem.cache_clear()
    monkeypatch.setattr(linear.OneDnnInt8, "__init__", missing)
    with caplog.at_level(logging.INFO):
        product = int8_linear(*quantised())
    assert isinstance(product, PortableInt8)
    assert "oneDNN operator missing or refused: AttributeError" in caplog.text
    assert torch.allclose(product(x), usual, rtol=1e-6, atol=1e-5)


@pytest.mark.skipif(bool(onednn_problem()), reason=onednn_problem())
def test_an_operator_that_is_not_exact_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(linear, "OneDnnInt8", _Wrong)
    with caplog.at_level(logging.INFO):
        assert isinstance(int8_linear(*quantised()), PortableInt8)
    assert "not exact on this processor" in caplog.text


def test_without_prepacking_bfloat16_products_are_plain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(linear.PackedBfloat16, "__init__", missing)
    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    with caplog.at_level(logging.INFO):
        product = float_linear(weight)
    assert isinstance(product, FloatLinear)
    assert "not prepacked: AttributeError" in caplog.text
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    assert torch.equal(product(x), torch.nn.functional.linear(x, weight))
