"""Families against transformers: the same logits for the same weights, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.loading import from_int8_weights
from avikam.model.reference import reference_logits
from avikam.model.sources.source import SourceError
from tests.model.foreign import SMALL, ours_of, planned, random_model, write_folder
from tests.model.test_attention import run

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64,
    "beta_fast": 16.0,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
HALF = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
KINDS = ["full_attention", "sliding_attention", "full_attention"]
SERVED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 2": ("llama", {"num_key_value_heads": 6}),
    "llama, tied": ("llama", {"tie_word_embeddings": True, "head_dim": 16}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("llama", {"rope_parameters": LINEAR}),
    "llama, yarn": ("llama", {"rope_parameters": YARN}),
    "llama, yarn with mscale": (
        "llama", {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 0.5}}
    ),
    "llama with biases": ("llama", {"attention_bias": True}),
    "llama, five key heads": (
        "llama", {"hidden_size": 80, "num_attention_heads": 10, "num_key_value_heads": 5}
    ),
    "mistral with a window": ("mistral", {"sliding_window": 24}),
    "mistral without": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen2 with windows": (
        "qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}
    ),
    "qwen3": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3 with biases": ("qwen3", {"head_dim": 8, "attention_bias": True}),
    "gemma 3": (
        "gemma3_text",
        {"head_dim": 16, "num_key_value_heads": 1, "sliding_window": 16,
         "query_pre_attn_scalar": 24, "layer_types": KINDS},
    ),
    "gemma 3, stretched": (
        "gemma3_text",
        {"head_dim": 8, "sliding_window": 32, "layer_types": KINDS,
         "rope_parameters": {"full_attention": LINEAR | {"rope_theta": 1e6},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    ),
}  # fmt: skip


def tokens_of(length: int) -> list[int]:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, SMALL["vocab_size"], (length,), generator=generator).tolist()


def cut(length: int, longest: int, seed: int) -> list[int]:
    """Random sizes that add up to ``length``, none above ``longest``."""
    generator = torch.Generator().manual_seed(seed)
    sizes: list[int] = []
    while sum(sizes) < length:
        most = min(longest, length - sum(sizes))
        sizes.append(int(torch.randint(1, most + 1, (), generator=generator)))
    return sizes


@pytest.mark.parametrize("name", SERVED)
def test_logits_are_transformers_for_any_length_and_any_cut(name: str, tmp_path: Path) -> None:
    model_type, changes = SERVED[name]
    theirs = random_model(model_type, **changes)
    plan = planned(write_folder(tmp_path / "model", theirs))
    ours, weights = ours_of(plan)
    with torch.inference_mode():
        for length in (1, 2, 17, 65, 300):
            tokens = tokens_of(length)
            expected = theirs(torch.tensor([tokens])).logits[0]
            assert expected.abs().max() > 0.5, "logits this small would hide an error"
            slots = FloatSlots(plan.config, 2)
            for seed in (1, 2):
                sizes = cut(length, slots.longest_chunk, seed)
                got = run(ours, slots, tokens, sizes)
                assert (got - expected).abs().max() < 1e-4, (length, sizes)
        oracle = reference_logits(weights, plan.config, tokens_of(65), torch.float32)
        expected = theirs(torch.tensor([tokens_of(65)])).logits[0]
        assert (oracle - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["llama 3", "mistral with a window", "qwen2", "gemma 3"])
def test_int8_is_the_same_bits_alone_and_cut_anywhere(name: str, tmp_path: Path) -> None:
    model_type, changes = SERVED[name]
    plan = planned(write_folder(tmp_path / "model", random_model(model_type, **changes)))
    _, weights = ours_of(plan)
    model, tokens = from_int8_weights(plan.config, weights), tokens_of(90)
    with torch.inference_mode():
        one_by_one = run(model, Int8Slots(plan.config, 2), tokens, [1] * 90)
        slots = Int8Slots(plan.config, 2)
        assert torch.equal(run(model, slots, tokens, cut(90, slots.longest_chunk, 3)), one_by_one)


# Architectures of transformers that look like ours and are not, each with what gives it away.
ALIKE: dict[str, tuple[str, dict[str, Any]]] = {
    "granite": ("granite", {"embedding_multiplier": 3.0}),
    "cohere": ("cohere", {}),
    "cohere2": ("cohere2", {}),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "stablelm": ("stablelm", {}),
    "starcoder2": ("starcoder2", {}),
    "gemma": ("gemma", {"head_dim": 8}),
    "gemma2": ("gemma2", {"head_dim": 8}),
    "smollm3": ("smollm3", {"no_rope_layer_interval": 2}),
    "mixtral": ("mixtral", {"num_local_experts": 2}),
    "qwen2_moe": ("qwen2_moe", {"num_experts": 2, "moe_intermediate_size": 16}),
    "qwen3_moe": ("qwen3_moe", {"num_experts": 2, "moe_intermediate_size": 16}),
    "exaone4": ("exaone4", {"sliding_window": 16}),
    "nemotron": ("nemotron", {}),
    "glm": ("glm", {"head_dim": 8}),
    "glm4": ("glm4", {"head_dim": 8}),
    "helium": ("helium", {"head_dim": 8}),
    "ministral": ("ministral", {"head_dim": 8}),
    "seed_oss": ("seed_oss", {"head_dim": 8}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"head_dim": 8}),
    "ernie4_5": ("ernie4_5", {"head_dim": 8}),
    "apertus": ("apertus", {}),
    "arcee": ("arcee", {}),
    "gpt_neox": ("gpt_neox", {}),
    "diffllama": ("diffllama", {"num_key_value_heads": 2}),
    "persimmon": ("persimmon", {"num_key_value_heads": 6}),
    # Of our own families, in ways that they are not written for.
    "llama with biases in the FFN": ("llama", {"mlp_bias": True}),
    "llama with another activation": ("llama", {"hidden_act": "relu"}),
    "llama, dynamic": ("llama", {"rope_parameters": LINEAR | {"rope_type": "dynamic"}}),
    "llama, half rotary": ("llama", {"rope_parameters": HALF}),
    "gemma 3 with a soft cap": ("gemma3_text", {"head_dim": 8, "final_logit_softcapping": 30.0}),
    "gemma 3 that looks both ways": (
        "gemma3_text", {"head_dim": 8, "use_bidirectional_attention": True}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_what_looks_like_ours_is_served_exactly_or_refused(name: str, tmp_path: Path) -> None:
    model_type, changes = ALIKE[name]
    theirs = random_model(model_type, **changes)
    folder = write_folder(tmp_path / "model", theirs)
    try:
        plan = planned(folder)
    except SourceError as error:
        assert "\n" not in str(error)
        return
    tokens = tokens_of(100)
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
        ours, _ = ours_of(plan)
        slots = FloatSlots(plan.config, 2)
        got = run(ours, slots, tokens, cut(100, slots.longest_chunk, 1))
    assert (got - expected).abs().max() < 1e-4


# These turn neighbours instead of halves, which neither a number nor a tensor's name tells.
UNTOLD = ("helium", "ernie4_5")


@pytest.mark.parametrize("name", sorted(set(ALIKE) - set(UNTOLD)))
def test_another_architecture_is_caught_even_under_our_name(name: str, tmp_path: Path) -> None:
    """A checkpoint that calls itself Llama is looked at all the same."""
    model_type, changes = ALIKE[name]
    theirs = random_model(model_type, **changes)
    folder = write_folder(
        tmp_path / "model", theirs, architectures=["LlamaForCausalLM"], model_type="llama"
    )
    try:
        plan = planned(folder)
    except SourceError as error:
        assert "\n" not in str(error)
        return
    tokens = tokens_of(100)
    with torch.inference_mode():
        expected = theirs(torch.tensor([tokens])).logits[0]
        slots = FloatSlots(plan.config, 2)
        got = run(ours_of(plan)[0], slots, tokens, cut(100, slots.longest_chunk, 1))
    assert (got - expected).abs().max() < 1e-4
