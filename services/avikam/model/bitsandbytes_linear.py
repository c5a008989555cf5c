"""Products through bitsandbytes, where it is installed: LLM.int8 and NF4.

They are here for compatibility with what others measured, not for speed: LLM.int8 (Dettmers et
al. 2022, arXiv 2208.07339) is slower than bfloat16 at small batches on most GPUs. NF4 is the
four-bit normal float of QLoRA (arXiv 2305.14314) in blocks of 64.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import Tensor, nn

_OUTLIER = 6.0  # activations beyond it are multiplied in 16 bits


def bitsandbytes_problem() -> str:
    """Why bitsandbytes cannot be used; empty when it is installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed; pip install 'avikam[cuda]'"
    return ""


class LlmInt8(nn.Module):
    """Vector-wise int8 with outlier columns in 16 bits."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        bitsandbytes: Any = importlib.import_module("bitsandbytes")
        rows, columns = weight.shape
        layer = bitsandbytes.nn.Linear8bitLt(
            columns, rows, bias=False, has_fp16_weights=False, threshold=_OUTLIER, device="meta"
        )
        layer.weight = bitsandbytes.nn.Int8Params(
            weight.half().cpu(), requires_grad=False, has_fp16_weights=False
        )
        # Moving quantises; in training mode a CPU would dequantise on every call.
        self._layer = layer.to(weight.device).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self._layer(x)


class Nf4(nn.Module):
    """Four-bit normal floats in blocks of 64."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        bitsandbytes: Any = importlib.import_module("bitsandbytes")
        self._product = bitsandbytes.matmul_4bit
        self._codes, self._state = bitsandbytes.functional.quantize_4bit(
            weight.contiguous(), blocksize=64, quant_type="nf4"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._product(x, self._codes.t(), self._state)
