"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) in PEFT's file format.

    y += (x A^T) B^T * scale        A [r, in], B [out, r], scale = alpha / r (or alpha / sqrt(r))

Only what is understood is accepted: plain LoRA on q_proj, v_proj and o_proj, safetensors. Anything
else in the folder (DoRA, biases, modules_to_save, unknown tensors) is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avikam.model.config import ModelConfig
from avikam.model.linear import FloatLinear, int8_linear
from avikam.model.quantize import quantize_rows
from avikam.model.transformer import Adapt

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROJECTIONS = ("q_proj", "v_proj", "o_proj")
MAX_RANK = 512

_KEY = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.self_attn\.([qvo]_proj)\.lora_([AB])\.weight"
)
# What a configuration may say without changing the product above, and what is checked by itself.
_KNOWN = (
    "peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision",
    "inference_mode", "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights", "eva_config",
    "loftq_config", "corda_config", "lora_ga_config", "qalora_group_size", "megatron_config",
    "megatron_core", "ensure_weight_tying",
)  # fmt: skip
_OFF: tuple[Any, ...] = (None, False, [], {}, "none")
# Others (pissa, olora, loftq ...) change the model's own weights, which the folder does not hold.
_STARTS: tuple[Any, ...] = (None, True, False, "gaussian", "eva", "orthogonal")


class AdapterError(ValueError):
    """An adapter folder that cannot be applied; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """Factors by (layer, projection); ``b`` has the scale inside. ``digest`` is its identity."""

    factors: Mapping[tuple[int, str], tuple[Tensor, Tensor]]
    digest: str

    @property
    def bytes(self) -> int:
        return sum(a.nbytes + b.nbytes for a, b in self.factors.values())


def read_adapter(folder: Path, config: ModelConfig, most_bytes: int | None = None) -> Adapter:
    """Read and check a PEFT folder for a model of ``config``'s shape.

    One whose factors take more than ``most_bytes`` in float32 is refused before they are read.
    """
    settings = _read_settings(folder / ADAPTER_CONFIG)
    scale = _scale(settings)
    tensors = _read_tensors(folder / ADAPTER_WEIGHTS, most_bytes)
    factors: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            raise AdapterError(
                f"unknown tensor {name!r}; only LoRA factors of {', '.join(PROJECTIONS)} are known"
            )
        layer, projection, side = int(match[1]), match[2], match[3]
        _check_tensor(name, tensor, config, layer, projection, side, settings["r"])
        factors.setdefault((layer, projection), {})[side] = tensor.float()
    if not factors:
        raise AdapterError(f"{ADAPTER_WEIGHTS} holds no LoRA factors")
    complete = {key: _pair(key, sides, scale) for key, sides in factors.items()}
    return Adapter(complete, _digest(settings, tensors))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path.name} cannot be read: {type(error).__name__}") from error
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise AdapterError(f"{path.name}: peft_type must be LORA")
    _check_off(path.name, settings)
    rank = settings.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{path.name}: r is {rank!r}, must be between 1 and {MAX_RANK}")
    targets = settings.get("target_modules") or []
    unknown = sorted(set(targets if isinstance(targets, list) else [targets]) - set(PROJECTIONS))
    if unknown:
        raise AdapterError(f"{path.name}: target module {unknown[0]!r} is not supported")
    return settings


def _check_off(file: str, settings: dict[str, Any]) -> None:
    """Refuse by name whatever could mean another product, also what is newer than this program."""
    for name, value in settings.items():
        if name not in _KNOWN and value not in _OFF:
            raise AdapterError(f"{file}: {name}={value!r} is not supported")
    start = settings.get("init_lora_weights")
    if start not in _STARTS:
        raise AdapterError(
            f"{file}: init_lora_weights={start!r} is not supported; save it as a plain adapter "
            "(peft: path_initial_model_for_weight_conversion)"
        )


def _scale(settings: dict[str, Any]) -> float:
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise AdapterError(f"{ADAPTER_CONFIG}: lora_alpha is {alpha!r}, must be a finite number")
    rank = int(settings["r"])
    return float(alpha) / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _read_tensors(path: Path, most_bytes: int | None) -> dict[str, Tensor]:
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
    name: str,
    tensor: Tensor,
    config: ModelConfig,
    layer: int,
    projection: str,
    side: str,
    rank: int,
) -> None:
    if layer >= config.num_layers:
        raise AdapterError(f"{name}: the model has {config.num_layers} layers")
    outputs = {
        "q_proj": config.mixed_size,
        "v_proj": config.num_kv_heads * config.head_dim,
        "o_proj": config.hidden_size,
    }
    inputs = config.mixed_size if projection == "o_proj" else config.hidden_size
    wanted = (rank, inputs) if side == "A" else (outputs[projection], rank)
    if tuple(tensor.shape) != wanted:
        raise AdapterError(f"{name} has shape {tuple(tensor.shape)}, needs {wanted}")
    if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
        raise AdapterError(f"{name} holds values that are not finite floats")


def _pair(key: tuple[int, str], sides: dict[str, Tensor], scale: float) -> tuple[Tensor, Tensor]:
    if set(sides) != {"A", "B"}:
        raise AdapterError(f"layer {key[0]} {key[1]} has only lora_{''.join(sides)}")
    return sides["A"], sides["B"] * scale


def _digest(settings: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """sha256 of what the adapter does: scale settings and tensors, whatever its name."""
    content = hashlib.sha256()
    relevant = [settings["r"], settings["lora_alpha"], bool(settings.get("use_rslora"))]
    content.update(json.dumps(relevant).encode())
    for name in sorted(tensors):
        content.update(f"{name}:{tensors[name].dtype}:{tuple(tensors[name].shape)};".encode())
        content.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


MakePair = Callable[[str, Tensor, Tensor], tuple[nn.Module, nn.Module]]
"""(projection, A, B) -> their products; a rank of a sharded model makes its own."""


class AppliedAdapter(nn.Module):
    """An adapter's factors as products of the model's own kind.

    With an int8 model the factors are int8 too: their sums are exact, so an adapted row still
    does not depend on the rows beside it.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        exact: bool,
        device: str = "cpu",
        pair: MakePair | None = None,
    ) -> None:
        super().__init__()
        self.digest = adapter.digest
        self.bytes = adapter.bytes

        def product(weight: Tensor) -> nn.Module:
            return int8_linear(*quantize_rows(weight)) if exact else FloatLinear(weight.to(device))

        def whole(projection: str, a: Tensor, b: Tensor) -> tuple[nn.Module, nn.Module]:
            return product(a), product(b)

        make = pair or whole
        self._products = {key: make(key[1], a, b) for key, (a, b) in adapter.factors.items()}

    def delta(self, layer: int, projection: str, x: Tensor) -> Tensor | None:
        """What the adapter adds to ``projection`` of ``layer``; none where it adds nothing."""
        pair = self._products.get((layer, projection))
        return None if pair is None else pair[1](pair[0](x.float()))


def adapt_rows(groups: list[tuple[AppliedAdapter, Tensor]]) -> Adapt:
    """Many adapters in one batch: each adds to its own rows (indices), the rest stay untouched."""

    def adapt(layer: int, projection: str, x: Tensor, out: Tensor) -> Tensor:
        for adapter, rows in groups:
            delta = adapter.delta(layer, projection, x[rows])
            if delta is not None:
                out = out.index_add(0, rows, delta.to(out.dtype))
        return out

    return adapt
