"""Int8 weights on a GPU, and what is used where the kernels do not run."""

from __future__ import annotations

import functools
import importlib.util
import logging

import torch
from torch import Tensor, nn

from avikam.model.linear import FloatLinear
from avikam.model.quantize import dequantize_rows

log = logging.getLogger(__name__)


class TritonInt8(nn.Module):
    """W8A16 for few rows, W8A8 for many (:mod:`avikam.model.kernels.int8_products`)."""

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        super().__init__()
        from avikam.model.kernels import int8_products

        self._kernels = int8_products
        self._codes = codes.contiguous()
        self._scale = scale.float().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        few = len(rows) <= self._kernels.MOST_ROWS_W8A16
        product = self._kernels.w8a16 if few else self._kernels.w8a8
        return product(rows, self._codes, self._scale).unflatten(0, x.shape[:-1])


@functools.cache
def kernels_problem(device: str) -> str:
    """Why the int8 kernels cannot be used on ``device``; empty when they are right (self-test)."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        return _self_test(device)
    except Exception as error:  # a compiler's failure has no one type
        log.debug("int8 kernels failed their self-test", exc_info=True)
        return f"the kernels do not run here: {type(error).__name__}"


def _self_test(device: str) -> str:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(-127, 128, (160, 192), generator=generator, dtype=torch.int8)
    scale = torch.rand(160, generator=generator) / 100
    product = TritonInt8(codes.to(device), scale.to(device))
    for rows in (1, 5, 80):
        x = torch.randn(rows, 192, generator=generator)
        # Triton's interpreter, the only way to run on a CPU, multiplies no bfloat16.
        floats = torch.float32 if device == "cpu" else torch.bfloat16
        ours = product(x.to(device, floats)).float().cpu()
        oracle = x @ dequantize_rows(codes, scale).T
        worst = float((ours - oracle).norm() / oracle.norm())
        if not worst < 0.02:
            return f"the product of {rows} rows is off by {worst:.1%}"
    return ""


def gpu_int8_linear(codes: Tensor, scale: Tensor) -> nn.Module:
    """An int8 product on the device that ``codes`` lie on; bfloat16 where the kernels fail."""
    problem = kernels_problem(codes.device.type)
    if not problem:
        return TritonInt8(codes, scale)
    log.warning("int8 weights run as bfloat16: %s", problem)
    return FloatLinear(dequantize_rows(codes, scale).bfloat16())
