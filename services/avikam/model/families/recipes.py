"""How each of our tensors is made from a source's, by Hugging Face's names.

attention.qkv_proj   [q_g | k_g | v_g] x groups, from three matrices (or biases)
ffn.up_proj          gate over up
all others           one tensor, as it is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.model.config import ModelConfig

Shape = tuple[int, ...]
Make = Callable[[list[Tensor]], Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """``sources`` (name -> shape that it must have), and what is made of them, in that order."""

    sources: dict[str, Shape]
    make: Make


@dataclass(frozen=True, slots=True)
class Family:
    """What a source is: our numbers, and our tensors' recipes in the order they are written."""

    config: ModelConfig
    recipes: dict[str, Recipe]


def one(parts: list[Tensor]) -> Tensor:
    """The only part."""
    return parts[0]


def stacked(parts: list[Tensor]) -> Tensor:
    """Rows of all parts, one part after another."""
    return torch.cat(parts)


def grouped(groups: int) -> Make:
    """Rows of q, k and v in groups, so that a rank's share is contiguous."""

    def make(parts: list[Tensor]) -> Tensor:
        pieces = [part.unflatten(0, (groups, -1)) for part in parts]
        return torch.cat(pieces, 1).flatten(0, 1)

    return make


def plus_one(parts: list[Tensor]) -> Tensor:
    """A norm that multiplies by 1 + weight, as Gemma stores it."""
    return parts[0].float() + 1.0


def plus_one_times(scale: float) -> Make:
    """The same, with a factor of what follows inside."""

    def make(parts: list[Tensor]) -> Tensor:
        return (parts[0].float() + 1.0) * scale

    return make


_NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def decoder_recipes(
    config: ModelConfig, norms: dict[str, str] | None = None, norm: Make = one, q_norm: Make = one
) -> dict[str, Recipe]:
    """Recipes of a decoder with Llama's names; ``norms`` maps our norms to the source's."""
    h = config.hidden_size
    recipes = {"embed.weight": Recipe({"model.embed_tokens.weight": (config.vocab_size, h)}, one)}
    for layer in range(config.num_layers):
        block, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        made = _attention(config, theirs + "self_attn.", norm, q_norm) | _feed_forward(
            config, theirs + "mlp."
        )
        for mine, name in (norms or _NORMS).items():
            made[mine + ".weight"] = Recipe({f"{theirs}{name}.weight": (h,)}, norm)
        recipes |= {block + name: recipe for name, recipe in made.items()}
    recipes["norm.weight"] = Recipe({"model.norm.weight": (h,)}, norm)
    if not config.tie_embeddings:
        recipes["head.weight"] = Recipe({"lm_head.weight": (config.vocab_size, h)}, one)
    return recipes


def _attention(config: ModelConfig, theirs: str, norm: Make, q_norm: Make) -> dict[str, Recipe]:
    h, d = config.hidden_size, config.head_dim
    rows = {"q": config.mixed_size, "k": config.num_kv_heads * d, "v": config.num_kv_heads * d}
    fuse = grouped(config.num_groups)
    made = {
        "attention.qkv_proj.weight": Recipe(
            {f"{theirs}{side}_proj.weight": (size, h) for side, size in rows.items()}, fuse
        ),
        "attention.o_proj.weight": Recipe({theirs + "o_proj.weight": (h, config.mixed_size)}, one),
    }
    if config.qkv_bias:
        biases: dict[str, tuple[int, ...]] = {
            f"{theirs}{side}_proj.bias": (size,) for side, size in rows.items()
        }
        made["attention.qkv_proj.bias"] = Recipe(biases, fuse)
    if config.output_bias:
        made["attention.o_proj.bias"] = Recipe({theirs + "o_proj.bias": (h,)}, one)
    if config.qk_norm:
        made["attention.q_norm.weight"] = Recipe({theirs + "q_norm.weight": (d,)}, q_norm)
        made["attention.k_norm.weight"] = Recipe({theirs + "k_norm.weight": (d,)}, norm)
    return made


def _feed_forward(config: ModelConfig, theirs: str) -> dict[str, Recipe]:
    h, inner = config.hidden_size, config.intermediate_size
    gate_and_up: dict[str, Shape] = {
        f"{theirs}{side}_proj.weight": (inner, h) for side in ("gate", "up")
    }
    return {
        "ffn.up_proj.weight": Recipe(gate_and_up, stacked),
        "ffn.down_proj.weight": Recipe({theirs + "down_proj.weight": (h, inner)}, one),
    }
