"""Frozen 8-bit base weights under trainable adapters (the idea of QLoRA, arXiv 2305.14314)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from avikam.model.quantize import dequantize_rows, quantize_rows
from avikam.model.transformer import Avikam1


class _FrozenProduct(torch.autograd.Function):
    """``x W^T`` with gradients for x only; W exists as floats no longer than one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(codes, scale)
        return x @ dequantize_rows(codes, scale).to(x.dtype).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        codes, scale = ctx.saved_tensors
        weight = dequantize_rows(codes, scale).to(gradients[0].dtype)
        return gradients[0] @ weight, None, None


class FrozenInt8Linear(nn.Module):
    """A matrix kept as int8 codes and one scale per row, on any device."""

    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        codes, scale = quantize_rows(weight)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs); the weights get no gradient."""
        out: Tensor = _FrozenProduct.apply(x, self.codes, self.scale)  # type: ignore[no-untyped-call]
        return out


def _bitsandbytes_linear(weight: Tensor) -> nn.Module:
    try:
        from bitsandbytes.nn.modules import Int8Params, Linear8bitLt
    except ImportError as error:
        raise ValueError(
            "base_weights bitsandbytes needs the package bitsandbytes (pip install "
            "'avikam[cuda]'); base_weights int8 needs nothing"
        ) from error
    rows, columns = weight.shape
    linear: nn.Module = Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False)
    half = weight.half().contiguous()
    linear.weight = Int8Params(half, requires_grad=False, has_fp16_weights=False)
    return linear


def quantize_base(model: Avikam1, kind: str) -> None:
    """Replace the matrices inside the blocks; embeddings and norms stay as they are.

    ``kind`` is ``int8`` or ``bitsandbytes`` (LLM.int8, arXiv 2208.07339).
    """
    make = FrozenInt8Linear if kind == "int8" else _bitsandbytes_linear
    for block in model.blocks:
        for owner in (block.get_submodule("attention"), block.get_submodule("ffn")):
            for name, child in list(owner.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(owner, name, make(child.weight.data))
