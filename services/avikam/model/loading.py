"""From a checkpoint to a model ready to run, in the weight type asked for.

type        products                                       embeddings, head     runs on
float32     float                                          float32              CPU, GPU
bfloat16    float                                          bfloat16             CPU, GPU
int8        exact integers (CPU), bfloat16 rows (GPU)      int8, bfloat16       CPU, GPU
int4        four-bit groups (:mod:`avikam.model.int4`)     bfloat16             CPU, GPU
llm-int8    bitsandbytes                                   bfloat16             CPU, GPU
nf4         bitsandbytes                                   bfloat16             CPU, GPU
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from avikam.model.bitsandbytes_linear import LlmInt8, Nf4, bitsandbytes_problem
from avikam.model.checkpoint import Checkpoint, CheckpointError
from avikam.model.config import ModelConfig
from avikam.model.gpu_int8 import gpu_int8_linear
from avikam.model.int4 import UngroupableError, int4_linear
from avikam.model.linear import Biased, Int8Embedding, float_linear, int8_linear
from avikam.model.quantize import SCALE_SUFFIX, dequantize_rows, quantize_rows
from avikam.model.transformer import Avikam1, RMSNorm

WeightType = Literal["auto", "int8", "bfloat16", "float32", "int4", "llm-int8", "nf4"]

_IN_BLOCKS: dict[WeightType, Callable[[Tensor], nn.Module]] = {
    "int4": int4_linear,
    "llm-int8": LlmInt8,
    "nf4": Nf4,
}


def resolve_weight_type(
    asked: WeightType, checkpoint: Checkpoint, device: str = "cpu"
) -> WeightType:
    """``auto`` takes what the checkpoint stores; float16 storage runs as bfloat16.

    On a GPU an int8 checkpoint runs in bfloat16 unless int8 is asked for: its kernels are not yet
    measured on one.
    """
    if asked not in get_args(WeightType):
        known = ", ".join(get_args(WeightType))
        raise CheckpointError(f"unknown weight type {asked!r}; use one of {known}")
    if asked in ("llm-int8", "nf4") and bitsandbytes_problem():
        raise CheckpointError(f"weights {asked}: {bitsandbytes_problem()}")
    if asked != "auto":
        return asked
    stored = checkpoint.stored_type
    if stored == "int8" and runs_exact("int8", device):
        return "int8"
    return "float32" if stored == "float32" else "bfloat16"


def runs_exact(kind: WeightType, device: str) -> bool:
    """Whether products are sums of integers, which have no order: int8 weights on a CPU."""
    return kind == "int8" and device == "cpu"


def load_model(checkpoint: Checkpoint, asked: WeightType = "auto", device: str = "cpu") -> Avikam1:
    """Build the model on the meta device, then put each weight in its final form once."""
    kind = resolve_weight_type(asked, checkpoint, device)
    try:
        return build_model(checkpoint.config, checkpoint.weights, kind, device)
    except UngroupableError as error:
        raise CheckpointError(f"checkpoint {checkpoint.folder}: {error}") from error


def build_model(
    config: ModelConfig, weights: Mapping[str, Tensor], kind: WeightType, device: str = "cpu"
) -> Avikam1:
    """A model of ``kind`` around stored tensors, float or int8."""
    model = Avikam1(config, device="meta")
    if runs_exact(kind, device):
        _fill_int8(model, weights)
    else:
        _fill_float(model, weights, kind, device)
    model.place_rotary(device)
    return model.eval().requires_grad_(False)


def from_float_weights(config: ModelConfig, weights: dict[str, Tensor]) -> Avikam1:
    """A float32 model around tensors in memory; tests and the trainer use it."""
    return build_model(config, weights, "float32")


def from_int8_weights(config: ModelConfig, weights: dict[str, Tensor]) -> Avikam1:
    """An int8 model around float or int8 tensors in memory."""
    return build_model(config, weights, "int8")


def _fill_float(
    model: Avikam1, weights: Mapping[str, Tensor], kind: WeightType, device: str
) -> None:
    """Routers, embeddings and the head stay floats; ``kind`` is that of the other matrices."""
    dtype = torch.float32 if kind == "float32" else torch.bfloat16

    def floats(name: str) -> Tensor:
        stored = weights[name].to(device)
        if stored.dtype == torch.int8:
            stored = dequantize_rows(stored, weights[name + SCALE_SUFFIX].to(device))
        return stored.to(dtype)

    def in_blocks(name: str) -> nn.Module:
        if kind == "int8":
            codes, scale = _codes(weights, name)
            return gpu_int8_linear(codes.to(device), scale.to(device))
        return _IN_BLOCKS.get(kind, float_linear)(floats(name))

    embeddings = floats("embed.weight")
    model.embed.weight = nn.Parameter(embeddings, requires_grad=False)
    for name in _linears(model):
        source = _source(model, name) + ".weight"
        if name == "head" or name.endswith(".router"):
            matrix = embeddings if source == "embed.weight" else floats(source)
            _replace(model, name, float_linear(matrix))
        else:
            _replace(model, name, _biased(in_blocks(source), floats, weights, name))
    _fill_norms(model, floats)


def _fill_int8(model: Avikam1, weights: Mapping[str, Tensor]) -> None:
    def floats(name: str) -> Tensor:
        return weights[name].float()

    for name in _linears(model):
        product = int8_linear(*_codes(weights, _source(model, name) + ".weight"))
        _replace(model, name, _biased(product, floats, weights, name))
    _replace(model, "embed", Int8Embedding(*_codes(weights, "embed.weight")))
    _fill_norms(model, floats)


def _biased(
    product: nn.Module,
    floats: Callable[[str], Tensor],
    weights: Mapping[str, Tensor],
    name: str,
) -> nn.Module:
    """The product with its bias, where the model has one."""
    bias = name + ".bias"
    return Biased(product, floats(bias)) if bias in weights else product


def _codes(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """A matrix as int8 codes and scales, as stored or quantised now."""
    stored = weights[name]
    if stored.dtype == torch.int8:
        return stored, weights[name + SCALE_SUFFIX]
    return quantize_rows(stored)


def _fill_norms(model: Avikam1, floats: Callable[[str], Tensor]) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, RMSNorm):
            module.weight = nn.Parameter(floats(name + ".weight"), requires_grad=False)


def _linears(model: Avikam1) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]


def _source(model: Avikam1, name: str) -> str:
    """The stored matrix behind a module: a tied head reads the embeddings."""
    return "embed" if name == "head" and model.config.tie_embeddings else name


def _replace(model: Avikam1, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
