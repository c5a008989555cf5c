"""The same Llama through transformers: float32, bfloat16, and PyTorch's dynamic int8."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from benchmarks.figures import CONTEXT
from benchmarks.llama_shape import LlamaShape


class Transformers:
    """``LlamaForCausalLM`` with its own growing cache. ``form``: float32, bfloat16 or int8."""

    def __init__(self, shape: LlamaShape, form: str) -> None:
        self.name = f"transformers {form}"
        self.parameters = shape.parameters
        self._vocab = shape.vocab
        self._model = _model(shape, form)
        self._cache: Any = None
        self._streams = 1

    @torch.inference_mode()
    def prefill(self) -> None:
        self._prompt()

    @torch.inference_mode()
    def begin(self, streams: int) -> None:
        self._streams = streams
        self._cache = self._prompt()
        self._cache.batch_repeat_interleave(streams)

    @torch.inference_mode()
    def step(self) -> None:
        tokens = torch.zeros(self._streams, 1, dtype=torch.long)
        out = self._model(tokens, past_key_values=self._cache, use_cache=True)
        self._cache = out.past_key_values
        out.logits[:, -1].argmax(dim=-1)

    def close(self) -> None:
        self._model = self._cache = None

    def _prompt(self) -> Any:
        tokens = (torch.arange(CONTEXT) % self._vocab).unsqueeze(0)
        out = self._model(tokens, use_cache=True, logits_to_keep=1)
        out.logits[:, -1].argmax(dim=-1)
        return out.past_key_values


def _model(shape: LlamaShape, form: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=2048,
        tie_word_embeddings=form != "int8",  # dynamic int8 replaces the head by its own
    )
    model = LlamaForCausalLM(config).eval()
    if form == "bfloat16":
        return model.to(torch.bfloat16)
    if form == "float32":
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
