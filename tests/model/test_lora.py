"""Adapters: applied as if merged, refused by name when they hold what we do not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.loading import from_float_weights
from avikam.model.lora import AdapterError, AppliedAdapter, adapt_rows, read_adapter
from avikam.model.reference import reference_logits
from tests.model.adapters import factors, key, merged, write_adapter
from tests.model.builders import random_tokens, random_weights, small_config

CONFIG = small_config(num_heads=8, num_kv_heads=4)


@pytest.mark.parametrize(("settings", "scale"), [({}, 2.0), ({"use_rslora": True}, 4.0)])
def test_an_adapter_acts_as_if_merged_into_the_reference(
    tmp_path: Path, settings: dict[str, Any], scale: float
) -> None:
    weights, tensors = random_weights(CONFIG), factors(CONFIG)
    adapter = read_adapter(write_adapter(tmp_path / "a", tensors, **settings), CONFIG)
    tokens = random_tokens(CONFIG, 30)
    model, cache = from_float_weights(CONFIG, weights), FloatSlots(CONFIG, 2)
    oracle = reference_logits(merged(weights, tensors, CONFIG, scale), CONFIG, tokens)
    rows = []
    for start in range(0, 30, 6):
        plan = StepPlan((), (), (Chunk(0, start, 6),))
        cache.begin(plan)
        adapt = adapt_rows([(AppliedAdapter(adapter, exact=False), torch.arange(6))])
        piece = torch.tensor(tokens[start : start + 6])
        rows.append(model.logits(model(piece, plan.positions(), cache.attend, adapt)))
    assert (torch.cat(rows) - oracle).abs().max() < 1e-4
    base = reference_logits(weights, CONFIG, tokens)
    assert (oracle - base).abs().max() > 0.1, "the adapter must change something to be tested"


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = read_adapter(write_adapter(tmp_path / "one", factors(CONFIG)), CONFIG)
    same = read_adapter(write_adapter(tmp_path / "two", factors(CONFIG)), CONFIG)
    other = read_adapter(write_adapter(tmp_path / "three", factors(CONFIG, seed=1)), CONFIG)
    scaled = read_adapter(write_adapter(tmp_path / "x", factors(CONFIG), lora_alpha=9), CONFIG)
    assert one.digest == same.digest
    assert len({one.digest, other.digest, scaled.digest}) == 3


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"arrow_config": {"top_k": 3}}, "arrow_config"),
        ({"kasa_config": {"beta": 0.1}}, "kasa_config"),
        ({"use_something_new": True}, "use_something_new=True"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"peft_type": "IA3"}, "peft_type must be LORA"),
        ({"target_modules": ["k_proj"]}, "'k_proj' is not supported"),
        ({"r": 0}, "r is 0"),
        ({"r": True}, "r is True"),
        ({"r": 4096}, "r is 4096"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
    ],
)
def test_unsupported_settings_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    folder = write_adapter(tmp_path / "a", factors(CONFIG), **settings)
    with pytest.raises(AdapterError, match=complaint.replace("[", r"\[")):
        read_adapter(folder, CONFIG)


def test_what_does_not_change_the_product_may_be_said(tmp_path: Path) -> None:
    """Every field of a configuration as PEFT 0.21 writes it by default."""
    said: dict[str, Any] = {
        "task_type": "CAUSAL_LM", "auto_mapping": None, "peft_version": "0.21.2", "revision": None,
        "base_model_name_or_path": "m", "inference_mode": True, "exclude_modules": None,
        "lora_dropout": 0.05, "fan_in_fan_out": False, "use_rslora": False, "lora_bias": False,
        "init_lora_weights": True, "layers_to_transform": None, "layers_pattern": None,
        "rank_pattern": {}, "alpha_pattern": {}, "megatron_config": None,
        "megatron_core": "megatron.core", "trainable_token_indices": None, "loftq_config": {},
        "eva_config": None, "corda_config": None, "lora_ga_config": None, "velora_config": None,
        "alora_invocation_tokens": None, "use_qalora": False, "qalora_group_size": 16,
        "monteclora_config": None, "layer_replication": None, "target_parameters": None,
        "use_bdlora": None, "arrow_config": None, "kasa_config": None, "ensure_weight_tying": False,
    }  # fmt: skip
    plain = read_adapter(write_adapter(tmp_path / "plain", factors(CONFIG)), CONFIG)
    described = read_adapter(write_adapter(tmp_path / "x", factors(CONFIG), **said), CONFIG)
    assert described.digest == plain.digest


def test_unsupported_tensors_are_refused_by_name(tmp_path: Path) -> None:
    good = factors(CONFIG)
    a, b = key(0, "q_proj", "A"), key(0, "q_proj", "B")
    cases = {
        "unknown tensor": good | {"lm_head.weight": torch.ones(2)},
        "the model has 2 layers": good | {key(7, "q_proj", "A"): good[a].clone()},
        "has shape": good | {a: torch.ones(4, 3)},
        "not finite": good | {a: good[a] * torch.nan},
        "has only lora_A": {name: t for name, t in good.items() if name != b},
        "holds no LoRA factors": {},
    }
    for complaint, tensors in cases.items():
        folder = write_adapter(tmp_path / complaint.replace(" ", "-"), tensors)
        with pytest.raises(AdapterError, match=complaint):
            read_adapter(folder, CONFIG)


def test_what_is_not_an_adapter_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter_config\.json cannot be read"):
        read_adapter(tmp_path, CONFIG)
    folder = write_adapter(tmp_path / "a", factors(CONFIG))
    (folder / "adapter_model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(AdapterError, match="not a readable safetensors file"):
        read_adapter(folder, CONFIG)
