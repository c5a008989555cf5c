"""Adapters: applied as if merged, refused by name when they hold what we do not know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.config import ModelConfig
from avikam.model.loading import from_float_weights
from avikam.model.lora import PROJECTIONS, AdapterError, AppliedAdapter, adapt_rows
from avikam.model.lora_files import read_adapter
from avikam.model.reference import reference_logits
from avikam.trainer.export.merge import merged as merged_by_trainer
from tests.model.adapters import factors, key, merged, write_adapter
from tests.model.builders import random_tokens, random_weights, small_config
from tests.model.foreign import ours_of, planned, random_model, write_folder

CONFIG = small_config(num_heads=8, num_kv_heads=4)


GATED = small_config(
    num_heads=8, num_kv_heads=4, feed_forward="swiglu", qk_norm=True, qkv_bias=True
)


@pytest.mark.parametrize(("settings", "scale"), [({}, 2.0), ({"use_rslora": True}, 4.0)])
@pytest.mark.parametrize(
    ("config", "projections"),
    [
        (CONFIG, ("q_proj", "v_proj", "o_proj")),
        (CONFIG, ("k_proj", "up_proj", "down_proj")),
        *((GATED, (projection,)) for projection in PROJECTIONS),
        (GATED, PROJECTIONS),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value.feed_forward,
)
def test_an_adapter_acts_as_if_merged_into_the_reference(
    tmp_path: Path,
    config: ModelConfig,
    projections: tuple[str, ...],
    settings: dict[str, Any],
    scale: float,
) -> None:
    weights, tensors = random_weights(config), factors(config, projections=projections)
    adapter = read_adapter(write_adapter(tmp_path / "a", tensors, **settings), config)
    tokens = random_tokens(config, 30)
    model, cache = from_float_weights(config, weights), FloatSlots(config, 2)
    oracle = reference_logits(merged(weights, tensors, config, scale), config, tokens)
    ours = merged_by_trainer(weights, adapter, config)
    assert (reference_logits(ours, config, tokens) - oracle).abs().max() < 1e-4
    rows = []
    for start in range(0, 30, 6):
        plan = StepPlan((), (), (Chunk(0, start, 6),))
        cache.begin(plan)
        adapt = adapt_rows([(AppliedAdapter(adapter, exact=False), torch.arange(6))])
        piece = torch.tensor(tokens[start : start + 6])
        rows.append(model.logits(model(piece, plan.positions(), cache.attend, adapt)))
    assert (torch.cat(rows) - oracle).abs().max() < 1e-4
    base = reference_logits(weights, config, tokens)
    assert (oracle - base).abs().max() > 0.05, "the adapter must change something to be tested"


@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj", "k_proj", "lm_head"],
        None,
        "all-linear",
        r".*\.self_attn\.(q_proj|v_proj|o_proj)",
        ["model.layers.0.self_attn.q_proj"],
    ],
)
def test_the_tensors_tell_which_layers_are_adapted(tmp_path: Path, targets: Any) -> None:
    plain = read_adapter(write_adapter(tmp_path / "plain", factors(CONFIG)), CONFIG)
    other = write_adapter(tmp_path / "other", factors(CONFIG), target_modules=targets)
    assert read_adapter(other, CONFIG).digest == plain.digest


@pytest.mark.parametrize("pattern", ["q_proj", r"layers\.\d+\.self_attn\.q_proj", "^.*q_proj$"])
def test_ranks_and_alphas_of_single_modules_are_pefts(tmp_path: Path, pattern: str) -> None:
    tensors = factors(CONFIG)
    wider = factors(CONFIG, rank=2)
    mixed = tensors | {name: t for name, t in wider.items() if "q_proj" in name}
    said: dict[str, Any] = {"rank_pattern": {pattern: 2}, "alpha_pattern": {pattern: 3}}
    adapter = read_adapter(write_adapter(tmp_path / "a", mixed, **said), CONFIG)
    b = key(1, "q_proj", "B"), key(1, "v_proj", "B")
    assert torch.equal(adapter.factors[1, "q_proj"][1], mixed[b[0]] * 1.5)
    assert torch.equal(adapter.factors[1, "v_proj"][1], mixed[b[1]] * 2.0)


def test_hostile_configurations_are_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", factors(CONFIG))
    config = folder / "adapter_config.json"
    good = config.read_bytes()
    for data in (b"[" * 99_999, b"\xff\xfe", b"7", b"", b" " * 2**21):
        config.write_bytes(data)
        with pytest.raises(AdapterError, match=r"adapter_config\.json"):
            read_adapter(folder, CONFIG)
    config.write_bytes(b"\xef\xbb\xbf" + good)
    assert read_adapter(folder, CONFIG).factors
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"only adapter_model\.bin is there, a pickle"):
        read_adapter(folder, CONFIG)


def test_an_adapter_that_peft_made_gives_pefts_logits(tmp_path: Path) -> None:
    """All seven projections of a Llama, through PEFT's own files."""
    theirs = random_model("llama")
    plan = planned(write_folder(tmp_path / "base", theirs))
    ours, _ = ours_of(plan)
    settings = peft.LoraConfig(
        r=4, target_modules="all-linear", lora_alpha=6, init_lora_weights=False,
        rank_pattern={"down_proj": 2}, alpha_pattern={"layers.1.self_attn.k_proj": 9},
    )  # fmt: skip
    adapted = peft.get_peft_model(theirs, settings).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    adapter = read_adapter(tmp_path / "adapter", plan.config)
    assert adapter.projections == set(PROJECTIONS)
    tokens, cache = random_tokens(plan.config, 40), FloatSlots(plan.config, 1)
    step = StepPlan((), (), (Chunk(0, 0, 40),))
    cache.begin(step)
    adapt = adapt_rows([(AppliedAdapter(adapter, exact=False), torch.arange(40))])
    with torch.inference_mode():
        hidden = ours(torch.tensor(tokens), step.positions(), cache.attend, adapt)
        expected = adapted(torch.tensor([tokens])).logits[0]
    assert (ours.logits(hidden) - expected).abs().max() < 1e-3


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
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern 'q_proj' is 0"),
        ({"rank_pattern": [8]}, "rank_pattern is [8]"),
        ({"rank_pattern": {"(a+)+b": 8}}, "has the expression"),
        ({"rank_pattern": {"(q": 8}}, "has the expression"),
        ({"alpha_pattern": {"q_proj": 10**400}}, "must be a finite number"),
        ({"target_modules": [{}]}, "target_modules is [{}], must be names"),
        ({"target_modules": {"q_proj": 1}}, "target_modules is"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"arrow_config": {"top_k": 3}}, "arrow_config"),
        ({"kasa_config": {"beta": 0.1}}, "kasa_config"),
        ({"use_something_new": True}, "use_something_new=True"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"peft_type": "IA3"}, "peft_type must be LORA"),
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
    with pytest.raises(AdapterError, match=re.escape(complaint)):
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
