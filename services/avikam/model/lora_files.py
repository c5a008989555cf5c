"""LoRA adapters from PEFT's folders: every tensor lands on a layer, or the folder is refused.

Only what is understood is accepted: plain LoRA on the linear layers of a block, in safetensors.
Anything else in the folder (DoRA, biases, modules_to_save, unknown tensors) is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.lora import PROJECTIONS, Adapter, AdapterError, factor_sizes
from avikam.model.lora_settings import ADAPTER_CONFIG, LoraSettings, read_settings

ADAPTER_WEIGHTS, ADAPTER_PICKLE = "adapter_model.safetensors", "adapter_model.bin"

_KEY = re.compile(
    r"base_model\.model\.(model\.layers\.(\d{1,4})\."
    r"(?:self_attn\.([qkvo]_proj)|mlp\.((?:gate|up|down)_proj)))\.lora_([AB])\.weight"
)


def read_adapter(folder: Path, config: ModelConfig, most_bytes: int | None = None) -> Adapter:
    """Read and check a PEFT folder for a model of ``config``'s shape.

    One whose factors take more than ``most_bytes`` in float32 is refused before they are read.
    """
    settings = read_settings(folder / ADAPTER_CONFIG)
    tensors = _read_tensors(folder / ADAPTER_WEIGHTS, most_bytes)
    sides: dict[tuple[int, str], dict[str, Tensor]] = {}
    scales: dict[tuple[int, str], float] = {}
    for name, tensor in tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            raise AdapterError(
                f"unknown tensor {name[:120]!r}; only LoRA factors of {', '.join(PROJECTIONS)} "
                "are known"
            )
        layer, projection, side = int(match[2]), match[3] or match[4], match[5]
        _check_tensor(name, tensor, config, (layer, projection, side), settings.rank_of(match[1]))
        sides.setdefault((layer, projection), {})[side] = tensor.float()
        scales[layer, projection] = settings.scale_of(match[1])
    if not sides:
        raise AdapterError(f"{ADAPTER_WEIGHTS} holds no LoRA factors")
    factors = {key: _pair(key, found, scales[key]) for key, found in sides.items()}
    return Adapter(factors, _digest(settings, tensors))


def _read_tensors(path: Path, most_bytes: int | None) -> dict[str, Tensor]:
    if not path.is_file() and path.with_name(ADAPTER_PICKLE).is_file():
        raise AdapterError(
            f"only {ADAPTER_PICKLE} is there, a pickle, which may run code when it is read; "
            f"save it as {path.name}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            needed = 4 * sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            if most_bytes is not None and needed > most_bytes:
                raise AdapterError(f"it needs {needed} bytes, the budget is {most_bytes}")
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path.name} is not a readable safetensors file") from error


def _check_tensor(
    name: str, tensor: Tensor, config: ModelConfig, place: tuple[int, str, str], rank: int
) -> None:
    layer, projection, side = place
    if layer >= config.num_layers:
        raise AdapterError(f"{name}: the model has {config.num_layers} layers")
    inputs, outputs = factor_sizes(config, projection)
    wanted = (rank, inputs) if side == "A" else (outputs, rank)
    if tuple(tensor.shape) != wanted:
        raise AdapterError(f"{name} has shape {tuple(tensor.shape)}, needs {wanted}")
    if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
        raise AdapterError(f"{name} holds values that are not finite floats")


def _pair(key: tuple[int, str], sides: dict[str, Tensor], scale: float) -> tuple[Tensor, Tensor]:
    if set(sides) != {"A", "B"}:
        raise AdapterError(f"layer {key[0]} {key[1]} has only lora_{''.join(sides)}")
    return sides["A"], sides["B"] * scale


def _digest(settings: LoraSettings, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of what the adapter does: scale settings and tensors, whatever its name."""
    content = hashlib.sha256(json.dumps(settings.content).encode())
    for name in sorted(tensors):
        content.update(f"{name}:{tensors[name].dtype}:{tuple(tensors[name].shape)};".encode())
        content.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
