"""The training forward: packed rows through the model, cross-entropy on counted tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from avikam.model.masks import document_mask
from avikam.model.transformer import Adapt, Attend, Avikam1
from avikam.trainer.packing import Batch


def masked_attention(masks: dict[str, Tensor], layer_types: tuple[str, ...]) -> Attend:
    """Attention over whole rows; ``masks`` holds one [B, 1, T, T] mask per layer type."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose(-3, -2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=masks[layer_types[layer]], enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(-3, -2)

    return attend


def row_masks(model: Avikam1, batch: Batch) -> dict[str, Tensor]:
    """The masks that the model's layer types need for this batch."""
    config = model.config
    return {
        kind: document_mask(batch.documents, batch.positions, config, kind)
        for kind in sorted(set(config.layer_types))
    }


def hidden_states(
    model: Avikam1,
    batch: Batch,
    recompute: frozenset[int] = frozenset(),
    adapt: Adapt | None = None,
) -> Tensor:
    """Hidden states [B, T, hidden] of packed rows, with an adapter's ``adapt`` hook if any.

    The layers in ``recompute`` keep no activations and run a second time in the backward pass
    (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174).
    """
    attend = masked_attention(row_masks(model, batch), model.config.layer_types)
    if not recompute:
        hidden: Tensor = model(batch.tokens, batch.positions, attend, adapt)
        return hidden
    x = model.embedded(batch.tokens)
    tables = model.turns(batch.positions, x.dtype)
    for layer, (block, table) in enumerate(zip(model.blocks, tables, strict=True)):
        if layer in recompute:
            x = checkpoint(block, x, table, attend, adapt, use_reentrant=False)
        else:
            x = block(x, table, attend, adapt)
    return model.norm(x)


def every_nth_layer(layers: int, every: int) -> frozenset[int]:
    """Layers ``every - 1``, ``2 * every - 1``, ... of a model (0 = none)."""
    return frozenset(range(every - 1, layers, every)) if every else frozenset()


def summed_loss(model: Avikam1, hidden: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropy over the counted targets; the head runs on those rows only."""
    chosen = targets != -100
    return F.cross_entropy(model.logits(hidden[chosen]), targets[chosen], reduction="sum")


def counted_loss(model: Avikam1, hidden: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the counted targets."""
    return summed_loss(model, hidden, targets) / (targets != -100).sum()
