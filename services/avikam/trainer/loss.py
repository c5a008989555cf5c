"""The training forward: packed rows through the model, cross-entropy on counted tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avikam.model.masks import document_mask
from avikam.model.transformer import Attend, Avikam1
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


def hidden_states(model: Avikam1, batch: Batch) -> Tensor:
    """Hidden states [B, T, hidden] of packed rows."""
    attend = masked_attention(row_masks(model, batch), model.config.layer_types)
    hidden: Tensor = model(batch.tokens, batch.positions, attend)
    return hidden


def counted_loss(model: Avikam1, hidden: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the counted targets; the head runs on those rows only."""
    chosen = targets != -100
    return F.cross_entropy(model.logits(hidden[chosen]), targets[chosen])
