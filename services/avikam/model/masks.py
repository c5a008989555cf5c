"""Who sees whom: the FG(window, stride) attention pattern, and its two plainer relatives.

A ``full`` layer sees every key before it, a ``window`` layer the last ``window``. In a ``hybrid``
layer query ``i`` sees key ``j <= i`` iff ``i - j < window`` (local) or ``j % stride == 0``
(global). The family is Sparse Transformer's *fixed* pattern (Child et al. 2019, arXiv 1904.10509):
globals sit at absolute positions, so everything else can be evicted once it leaves the window.

    stride 4, window 8           key j
                        0 . . . 4 . . . 8 . . . 12
    query i = 13        G . . . G . L L L L L L L L   (5 is evicted, 0 and 4 stay)
"""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.model.config import LayerType, ModelConfig


def visible(queries: Tensor, keys: Tensor, config: ModelConfig, layer_type: LayerType) -> Tensor:
    """Boolean visibility of ``keys`` [..., K] to ``queries`` [..., Q]: shape [..., Q, K].

    Both hold absolute positions inside one sequence.
    """
    i = queries.unsqueeze(-1)
    j = keys.unsqueeze(-2)
    causal = j <= i
    if layer_type == "full":
        return causal
    local = i - j < config.window
    if layer_type == "window":
        return causal & local
    return causal & (local | (j % config.stride == 0))


def document_mask(
    documents: Tensor, positions: Tensor, config: ModelConfig, layer_type: LayerType
) -> Tensor:
    """Mask of packed training rows: [B, 1, T, T], true where a token may look.

    ``documents`` [B, T] numbers the document of each token; ``positions`` [B, T] restart at 0
    in each document, so that globals are counted as the engine counts them.
    """
    same = documents.unsqueeze(-1) == documents.unsqueeze(-2)
    order = torch.arange(documents.shape[-1], device=documents.device)
    causal = order.unsqueeze(-1) >= order
    return (same & causal & visible(positions, positions, config, layer_type)).unsqueeze(1)
