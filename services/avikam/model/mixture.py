"""A mixture of experts in place of one FFN (Shazeer et al. 2017; top-k as in arXiv 2401.04088).

    scores = router(x)             one number per expert
    chosen = top-k of scores       k = active_experts, ties go to the lower expert
    y      = sum over chosen e of softmax(scores[chosen])_e * expert_e(x)

A row's sum runs in the order of the experts, whoever else is in the batch: with exact products a
token's result does not depend on its company.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mixture(nn.Module):
    """Routes each row of x [..., hidden] to its ``active`` experts."""

    def __init__(self, router: nn.Module, experts: nn.ModuleList, active: int) -> None:
        super().__init__()
        self.router = router
        self.experts = experts
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        shares = self.shares(rows)
        fixed = rows.is_cuda and torch.cuda.is_current_stream_capturing()
        mixed = self.everywhere(rows, shares) if fixed else self.where_chosen(rows, shares)
        return mixed.view_as(x)

    def shares(self, rows: Tensor) -> Tensor:
        """Weight of every expert in every row [rows, experts]; 0 where it was not chosen."""
        scores = self.router(rows).float()
        best, chosen = scores.sort(dim=-1, descending=True, stable=True)
        weights = best[:, : self.active].softmax(dim=-1)
        return torch.zeros_like(scores).scatter(-1, chosen[:, : self.active], weights)

    def where_chosen(self, rows: Tensor, shares: Tensor) -> Tensor:
        """Each expert computes only the rows that chose it."""
        out = torch.zeros_like(rows)
        for expert, share in zip(self.experts, shares.unbind(-1), strict=True):
            mine = share.nonzero().flatten()
            if len(mine):
                part = expert(rows[mine]) * share[mine].unsqueeze(-1).to(rows.dtype)
                out = out.index_add(0, mine, part)
        return out

    def everywhere(self, rows: Tensor, shares: Tensor) -> Tensor:
        """The same with shapes that do not depend on the data, as a CUDA graph needs."""
        out = torch.zeros_like(rows)
        for expert, share in zip(self.experts, shares.unbind(-1), strict=True):
            weight = share.unsqueeze(-1).to(rows.dtype)
            out = out + torch.where(weight > 0, expert(rows) * weight, 0)
        return out
