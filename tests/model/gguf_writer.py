"""GGUF files of the tiny models, written by the ``gguf`` package as llama.cpp's converter does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def write_gguf(
    path: Path, model: Any, arch: str, tokenizer: Tokenizer, *, pre: str = "smollm", **more: Any
) -> Path:
    """A file with the model's weights as F32 and a byte-level vocabulary."""
    writer = gguf.GGUFWriter(path, arch)
    config = model.config
    _numbers(writer, config)
    _vocabulary(writer, tokenizer, pre)
    for key, value in more.items():
        writer.add_uint32(key.replace("__", "."), value)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(_their_name(name, arch), _as_stored(name, tensor, arch, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _numbers(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_name("Tiny Model")
    writer.add_license("apache-2.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if "full_attention" in config.rope_parameters:
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer, pre: str) -> None:
    document = json.loads(tokenizer.to_str())
    added = {a["id"]: a["special"] for a in document["added_tokens"]}
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    kinds = [3 if added.get(i) else 4 if i in added else 1 for i in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokenizer.id_to_token(i) or "" for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in document["model"]["merges"]])
    writer.add_eos_token_id(2)
    writer.add_bos_token_id(0)
    writer.add_add_bos_token(False)


def _their_name(name: str, arch: str) -> str:
    owner, _, part = name.rpartition(".")
    layer = ""
    if owner.startswith("model.layers."):
        _, _, number, owner = owner.split(".", 3)
        layer = f"blk.{number}."
    names = _NAMES | (_GEMMA if arch == "gemma3" else {})
    return f"{layer}{names[owner]}.{part}"


def _as_stored(name: str, tensor: torch.Tensor, arch: str, config: Any) -> np.ndarray[Any, Any]:
    if arch == "gemma3" and name.endswith("norm.weight"):
        tensor = tensor + 1
    if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_" in name else config.num_key_value_heads
        rest = tensor.shape[1:]
        tensor = tensor.view(heads, 2, tensor.shape[0] // heads // 2, *rest).transpose(1, 2)
        tensor = tensor.reshape(-1, *rest)
    return tensor.contiguous().numpy()
