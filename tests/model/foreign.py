"""Tiny random checkpoints as transformers writes them, norms and biases random too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from avikam.model.imports.plan import ImportPlan, plan_import
from avikam.model.sources.hf_folder import open_folder
from avikam.model.transformer import Avikam1
from tests.model.tokenizer_files import CHATML, byte_level

SMALL: dict[str, Any] = {
    "vocab_size": 640,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 512,
    "eos_token_id": 2,
    "bos_token_id": 0,
    "pad_token_id": 0,
}


def random_model(model_type: str, seed: int = 1, **changes: Any) -> Any:
    """A model of transformers with every parameter random: ones and zeros hide what is left out."""
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[model_type](**(SMALL | changes))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            wide = parameter.dim() > 1
            parameter.normal_(std=0.12 if wide else 0.3)
            if not wide:
                parameter.add_(0.5)
    return model


def write_folder(folder: Path, model: Any, *, shard: str = "5GB", **config: Any) -> Path:
    """The folder that ``save_pretrained`` writes, with a tokenizer, and changes to config.json."""
    model.save_pretrained(folder, max_shard_size=shard)
    byte_level().save(str(folder / "tokenizer.json"))
    told = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    if config:
        edit_config(folder, **config)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Change keys of config.json; ``...`` takes one away."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def planned(folder: Path) -> ImportPlan:
    return plan_import(open_folder(folder), "tiny")


def ours_of(plan: ImportPlan) -> tuple[Avikam1, dict[str, Tensor]]:
    """Our float model around the plan's tensors, and these."""
    from avikam.model.loading import from_float_weights

    read = plan.source.tensors.read
    weights = {
        name: recipe.make([read(part).float() for part in recipe.sources])
        for name, recipe in plan.family.recipes.items()
    }
    return from_float_weights(plan.config, weights), weights
