"""The fine-tuning loss: ``CE + l1 * KL(uniform || model) + l2 * ||theta||_2``."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def regularized_loss(
    logits: Tensor, targets: Tensor, weights: Iterable[nn.Parameter], l1: float, l2: float
) -> Tensor:
    """Sum over the targets of CE and the smoothing, plus the norm once per target.

    ``logits`` [n, vocab], ``targets`` [n]. Dividing the sum by the number of targets of the whole
    batch gives the loss above, in whatever pieces the batch was computed.
    """
    log_probabilities = F.log_softmax(logits, dim=-1)
    loss = F.nll_loss(log_probabilities, targets, reduction="sum")
    if l1:
        loss = loss + l1 * smoothing(log_probabilities).sum()
    if l2:
        norm = torch.cat([w.flatten() for w in weights]).norm()
        loss = loss + l2 * norm * len(targets)
    return loss


def smoothing(log_probabilities: Tensor) -> Tensor:
    """KL(uniform || p) of each row: 0 for a uniform p, large for a model that is too sure."""
    return -math.log(log_probabilities.shape[-1]) - log_probabilities.mean(dim=-1)
