"""A Llama of (nearly) the same number of parameters: what the peers can run.

Same hidden size, layers, heads, vocabulary and tied embeddings; the gated FFN has three matrices,
so its width is two thirds of ours, rounded to the 32 that Q8_0 needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from avikam.model.config import ModelConfig

_BLOCK = 32


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Numbers of a Llama."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int

    @property
    def parameters(self) -> int:
        block = 4 * self.hidden**2 + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return self.layers * block + self.vocab * self.hidden + self.hidden


def llama_like(config: ModelConfig) -> LlamaShape:
    """The Llama that stands beside ``config``."""
    width = round(2 * config.intermediate_size / 3 / _BLOCK) * _BLOCK
    return LlamaShape(
        config.vocab_size, config.hidden_size, config.num_layers, config.num_heads, width
    )
