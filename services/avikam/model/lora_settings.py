"""What a PEFT ``adapter_config.json`` says, and whether it means plain LoRA.

``target_modules`` may be a list, an expression, full paths or ``all-linear``: the tensors tell
which layers are adapted, so it is only looked at for its type.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.model.lora import AdapterError

ADAPTER_CONFIG = "adapter_config.json"
MAX_RANK = 512
_MOST_BYTES = 2**20

# What a configuration may say without changing the product, and what is checked by itself.
_KNOWN = (
    "peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision",
    "inference_mode", "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights", "eva_config",
    "loftq_config", "corda_config", "lora_ga_config", "qalora_group_size", "megatron_config",
    "megatron_core", "ensure_weight_tying", "rank_pattern", "alpha_pattern",
)  # fmt: skip
_OFF: tuple[Any, ...] = (None, False, [], {}, "none")
# Others (pissa, olora, loftq ...) change the model's own weights, which the folder does not hold.
_STARTS: tuple[Any, ...] = (None, True, False, "gaussian", "eva", "orthogonal")
# An expression whose repetitions are nested may take for ever on a short name.
_SAFE_PATTERN = re.compile(r"(?!.*[)\]][*+{])[\w.\\*+|^$()\[\]-]{1,200}")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Rank and alpha, and those of single modules by (expression, value)."""

    rank: int
    alpha: float
    rank_stabilized: bool
    ranks: tuple[tuple[str, int], ...] = ()
    alphas: tuple[tuple[str, float], ...] = ()

    def rank_of(self, module: str) -> int:
        """Rank of a module such as ``model.layers.0.mlp.up_proj``."""
        return _matching(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What its product is multiplied by."""
        rank, alpha = self.rank_of(module), _matching(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    @property
    def content(self) -> list[Any]:
        """What the adapter's identity depends on."""
        own = [self.rank, self.alpha, self.rank_stabilized]
        return [*own, self.ranks, self.alphas] if self.ranks or self.alphas else own


def read_settings(path: Path) -> LoraSettings:
    """Read and check; :class:`AdapterError` names what is wrong."""
    settings = _read_object(path)
    if settings.get("peft_type") != "LORA":
        raise AdapterError(f"{path.name}: peft_type must be LORA")
    _check_off(path.name, settings)
    _check_targets(path.name, settings.get("target_modules"))
    alpha = _alpha("lora_alpha", settings.get("lora_alpha"))
    ranks = _pattern(settings, "rank_pattern")
    alphas = _pattern(settings, "alpha_pattern")
    return LoraSettings(
        _rank("r", settings.get("r")),
        alpha,
        bool(settings.get("use_rslora")),
        tuple((key, _rank(f"rank_pattern {key!r}", value)) for key, value in ranks),
        tuple((key, _alpha(f"alpha_pattern {key!r}", value)) for key, value in alphas),
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise AdapterError(f"{path.name} has more than {_MOST_BYTES} bytes")
        settings = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{path.name} cannot be read: {type(error).__name__}") from error
    if not isinstance(settings, dict):
        raise AdapterError(f"{path.name}: peft_type must be LORA")
    return settings


def _check_off(file: str, settings: dict[str, Any]) -> None:
    """Refuse by name whatever could mean another product, also what is newer than this program."""
    for name, value in settings.items():
        if name not in _KNOWN and value not in _OFF:
            raise AdapterError(f"{file}: {name}={_short(value)} is not supported")
    start = settings.get("init_lora_weights")
    if start not in _STARTS:
        raise AdapterError(
            f"{file}: init_lora_weights={_short(start)} is not supported; save it as a plain "
            "adapter (peft: path_initial_model_for_weight_conversion)"
        )


def _check_targets(file: str, targets: Any) -> None:
    listed = targets if isinstance(targets, list) else [targets or ""]
    if not all(isinstance(target, str) for target in listed):
        raise AdapterError(f"{file}: target_modules is {_short(targets)}, must be names")


def _pattern(settings: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    """(expression, value) pairs in the file's order, the first that matches counts."""
    values = settings.get(name) or {}
    if not isinstance(values, dict):
        raise AdapterError(f"{ADAPTER_CONFIG}: {name} is {_short(values)}, must be an object")
    for key in values:
        if not _SAFE_PATTERN.fullmatch(key) or not _compiles(key):
            raise AdapterError(f"{ADAPTER_CONFIG}: {name} has the expression {_short(key)}")
    return list(values.items())


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return True


def _matching(patterns: tuple[tuple[str, Any], ...], module: str, otherwise: Any) -> Any:
    """As PEFT matches: the expression is the module's name, or its end behind a dot."""
    for expression, value in patterns:
        if re.fullmatch(rf"(?:.*\.)?(?:{expression})", module):
            return value
    return otherwise


def _rank(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_RANK:
        raise AdapterError(
            f"{ADAPTER_CONFIG}: {name} is {_short(value)}, must be between 1 and {MAX_RANK}"
        )
    return value


def _alpha(name: str, value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if good else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise AdapterError(f"{ADAPTER_CONFIG}: {name} is {_short(value)}, must be a finite number")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
