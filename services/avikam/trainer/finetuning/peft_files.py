"""Adapters as PEFT reads and writes them, which is also what a worker loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from avikam.model.lora_files import ADAPTER_WEIGHTS
from avikam.model.lora_settings import ADAPTER_CONFIG
from avikam.trainer.finetuning.adapters import PROJECTIONS, Adapters


def write_adapter(folder: Path, adapters: Adapters, base_model: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    q rows and o columns are in plain head order, as a model with separate projections has them.
    No task type is named: PEFT then wraps any torch module with these projections.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(adapters.layers):
        for projection in PROJECTIONS:
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            name = f"{layer}_{projection}"
            tensors[f"{prefix}.lora_A.weight"] = adapters.down[name].detach().cpu().contiguous()
            tensors[f"{prefix}.lora_B.weight"] = adapters.up[name].detach().cpu().contiguous()
    beside = folder / (ADAPTER_WEIGHTS + ".partial")
    save_file(tensors, beside, metadata={"format": "pt"})
    beside.replace(folder / ADAPTER_WEIGHTS)
    text = json.dumps(_config(adapters, base_model), indent=2) + "\n"
    (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")


def _config(adapters: Adapters, base_model: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": adapters.rank,
        "lora_alpha": adapters.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(PROJECTIONS),
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
    }
