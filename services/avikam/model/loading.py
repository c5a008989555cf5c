"""From a checkpoint to a model ready to run, in the weight type asked for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from avikam.model.checkpoint import Checkpoint, CheckpointError
from avikam.model.config import ModelConfig
from avikam.model.linear import Int8Embedding, float_linear, int8_linear
from avikam.model.quantize import SCALE_SUFFIX, float_state, quantize_rows
from avikam.model.transformer import Avikam1

WeightType = Literal["auto", "int8", "bfloat16", "float32"]


def resolve_weight_type(
    asked: WeightType, checkpoint: Checkpoint, device: str = "cpu"
) -> WeightType:
    """``auto`` takes what the checkpoint stores; float16 storage runs as bfloat16.

    The int8 products are the CPU's: on a GPU an int8 checkpoint runs in bfloat16.
    """
    on_cpu = device == "cpu"
    if asked == "int8" and not on_cpu:
        raise CheckpointError("int8 weights run on the CPU only; on a GPU use bfloat16 or auto")
    if asked != "auto":
        return asked
    stored = checkpoint.stored_type
    if stored == "int8" and on_cpu:
        return "int8"
    return "float32" if stored == "float32" else "bfloat16"


def load_model(checkpoint: Checkpoint, asked: WeightType = "auto", device: str = "cpu") -> Avikam1:
    """Build the model on the meta device, then put each weight in its final form once."""
    kind = resolve_weight_type(asked, checkpoint, device)
    model = Avikam1(checkpoint.config, device="meta")
    if kind == "int8":
        _fill_int8(model, checkpoint.weights)
    else:
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        state = {n: t.to(device, dtype) for n, t in float_state(checkpoint.weights).items()}
        _fill_float(model, state)
    model.rotary = model.rotary.to(device)
    return model.eval().requires_grad_(False)


def from_float_weights(config: ModelConfig, weights: dict[str, Tensor]) -> Avikam1:
    """A float32 model around tensors in memory; tests and the trainer use it."""
    model = Avikam1(config, device="meta")
    _fill_float(model, {name: tensor.float() for name, tensor in weights.items()})
    return model.eval().requires_grad_(False)


def from_int8_weights(config: ModelConfig, weights: dict[str, Tensor]) -> Avikam1:
    """An int8 model around float or int8 tensors in memory."""
    model = Avikam1(config, device="meta")
    _fill_int8(model, weights)
    return model.eval().requires_grad_(False)


def _fill_float(model: Avikam1, state: dict[str, Tensor]) -> None:
    model.embed.weight = nn.Parameter(state["embed.weight"], requires_grad=False)
    for name in _linears(model):
        _replace(model, name, float_linear(state[_source(model, name) + ".weight"]))
    _fill_norms(model, state)


def _fill_int8(model: Avikam1, weights: dict[str, Tensor]) -> None:
    def codes(name: str) -> tuple[Tensor, Tensor]:
        stored = weights[name]
        if stored.dtype == torch.int8:
            return stored, weights[name + SCALE_SUFFIX]
        return quantize_rows(stored)

    for name in _linears(model):
        _replace(model, name, int8_linear(*codes(_source(model, name) + ".weight")))
    _replace(model, "embed", Int8Embedding(*codes("embed.weight")))
    _fill_norms(model, {n: t.float() for n, t in weights.items() if t.dim() == 1})


def _fill_norms(model: Avikam1, state: dict[str, Tensor]) -> None:
    for name, parameter in list(model.named_parameters()):
        if parameter.dim() == 1:
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.weight = nn.Parameter(state[name], requires_grad=False)


def _linears(model: Avikam1) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]


def _source(model: Avikam1, name: str) -> str:
    """The stored matrix behind a module: a tied head reads the embeddings."""
    return "embed" if name == "head" and model.config.tie_embeddings else name


def _replace(model: Avikam1, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
