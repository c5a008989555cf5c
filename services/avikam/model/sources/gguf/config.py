"""A GGUF file's metadata in the words of a Hugging Face ``config.json``.

So the families read one language. A key of the architecture that is neither here nor harmless is
refused by name: it may change the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from avikam.model.sources.source import SourceError

_ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", "llama"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text"),
}
# GGUF key (behind the architecture's name) -> Hugging Face's.
_PLAIN = {
    "vocab_size": "vocab_size",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
}
_READ = (
    "attention.value_length", "rope.dimension_count", "rope.freq_base", "rope.scaling.type",
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.freq_base_swa",
    "attention.sliding_window_pattern", "rope.scaling.attn_factor", "rope.scaling.finetuned",
)  # fmt: skip
# Llama 3.1 and 3.2 keep their scaling as a tensor of factors; these are the ones in use.
_LLAMA3_FACTORS = (8.0, 32.0, 16.0, 4.0)


def config_of(metadata: Mapping[str, Any], *, tied: bool, factors: Any = None) -> dict[str, Any]:
    """The configuration; ``factors`` is the tensor ``rope_freqs.weight``, where there is one."""
    name = metadata.get("general.architecture")
    if name not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise SourceError(f"architecture {str(name)[:40]!r} is not served; {known} are")
    architecture, model_type = _ARCHITECTURES[name]
    own = {k.removeprefix(f"{name}."): v for k, v in metadata.items() if k.startswith(f"{name}.")}
    values: dict[str, Any] = {"architectures": [architecture], "model_type": model_type}
    values |= {theirs: own[mine] for mine, theirs in _PLAIN.items() if mine in own}
    values["tie_word_embeddings"] = tied
    values.setdefault("vocab_size", len(metadata.get("tokenizer.ggml.tokens", ())))
    values.setdefault("head_dim", own.get("rope.dimension_count"))
    _refuse_unknown(name, own)
    _check_heads(own, values)
    values |= _rope(own, factors)
    return values | _of_architecture(name, own, values)


def _refuse_unknown(name: str, own: Mapping[str, Any]) -> None:
    for key, value in own.items():
        off = not isinstance(value, np.ndarray) and value in (0, False, "", None)
        if key not in _PLAIN and key not in _READ and not off:
            raise SourceError(f"{name}.{key} is not known; it may change the model")


def _check_heads(own: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """All heads alike, and turned whole."""
    size = values["head_dim"]
    for key in ("attention.value_length", "rope.dimension_count"):
        if own.get(key, size) != size:
            raise SourceError(f"{key} is {str(own[key])[:40]}, heads have {size}")


def _rope(own: Mapping[str, Any], factors: Any) -> dict[str, Any]:
    table: dict[str, Any] = {}
    kind = own.get("rope.scaling.type", "none")
    if kind != "none":
        table = {"rope_type": kind, "factor": own.get("rope.scaling.factor")}
        original = own.get("rope.scaling.original_context_length")
        table |= {"original_max_position_embeddings": original} if original else {}
        if own.get("rope.scaling.attn_factor", 1.0) != 1.0:
            raise SourceError("rope.scaling.attn_factor is not known; it may change the model")
    values: dict[str, Any] = {}
    if "rope.freq_base" in own:
        values["rope_theta"] = own["rope.freq_base"]
    if factors is not None:
        table = _llama3_table(own, factors)
    return values | ({"rope_scaling": table} if table else {})


def _llama3_table(own: Mapping[str, Any], factors: Any) -> dict[str, Any]:
    """The scaling whose factors, dimension by dimension, are the file's."""
    import torch

    from avikam.model.rope_scaling import RopeScaling
    from avikam.model.rotary import stretched

    theta = float(own.get("rope.freq_base", 10_000.0))
    plain = theta ** -(torch.arange(len(factors), dtype=torch.float64) / len(factors))
    for factor in _LLAMA3_FACTORS:
        guess = RopeScaling("llama3", factor, original_positions=8192)
        ours = plain / stretched(plain, theta, guess)
        if torch.allclose(ours, torch.as_tensor(factors).double(), rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
    raise SourceError("rope_freqs.weight holds factors of an unknown rope scaling")


def _of_architecture(
    name: str, own: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file leaves unsaid because its architecture fixes it."""
    if name == "gemma3":
        return _gemma3(own, values)
    if name == "llama" and own.get("attention.sliding_window"):
        return {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    return {"use_sliding_window": False} if name.startswith("qwen") else {}


def _gemma3(own: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    pattern = own.get("attention.sliding_window_pattern", 6)
    if not isinstance(pattern, int):
        raise SourceError("gemma3.attention.sliding_window_pattern is no single number")
    # The 27B alone divides its scores by hidden_size / heads.
    biggest = values.get("num_hidden_layers") == 62
    scalar = (
        values["hidden_size"] // values["num_attention_heads"] if biggest else values["head_dim"]
    )
    return {
        "query_pre_attn_scalar": scalar,
        "sliding_window_pattern": pattern,
        "rope_local_base_freq": own.get("rope.freq_base_swa", 10_000.0),
        "rope_theta": own.get("rope.freq_base", 1_000_000.0),
    }
