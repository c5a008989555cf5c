"""Prefill attention over segments of different lengths, with each row's log-sum-exp.

A :data:`VarlenAttention` gets packed q [T, H, D] and k, v [N, Hkv, D], how they are cut into
segments, and ``span``: None lets a query see all keys of its segment; a number lets it see that
many keys up to its own, where a segment's last query stands at its last key. It returns the mixed
values [T, H, D] and, in float32, the log of the softmax's denominator [T, H].
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from avikam.model.attention.transfer import sent


@dataclass(frozen=True, slots=True)
class Segments:
    """``queries[i]`` rows of q meet ``keys[i]`` rows of k; edges are running sums, int32."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    query_edges: Tensor
    key_edges: Tensor

    @classmethod
    def of(cls, queries: list[int], keys: list[int], device: str) -> Segments:
        """Segments of these lengths, one after the other, with their edges on the device."""
        edges = [
            sent(torch.tensor([0, *accumulate(sizes)], dtype=torch.int32), device)
            for sizes in (queries, keys)
        ]
        return cls(tuple(queries), tuple(keys), *edges)


VarlenAttention = Callable[[Tensor, Tensor, Tensor, Segments, int | None], tuple[Tensor, Tensor]]


def plain_varlen(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, span: int | None
) -> tuple[Tensor, Tensor]:
    """A masked softmax per segment: on every device, and the oracle of the others."""
    outs, sums = [], []
    parts = zip(
        q.split(segments.queries), k.split(segments.keys), v.split(segments.keys), strict=True
    )
    for queries, keys, values in parts:
        share = queries.shape[1] // keys.shape[1]
        folded = queries.unflatten(1, (-1, share)).permute(1, 2, 0, 3)  # [Hkv, share, T, D]
        scores = (folded @ keys.permute(1, 2, 0).unsqueeze(1)).float() * q.shape[-1] ** -0.5
        if span is not None:
            scores = scores.masked_fill(~_banded(len(queries), len(keys), span, q), -torch.inf)
        mixed = scores.softmax(-1).to(v.dtype) @ values.transpose(0, 1).unsqueeze(1)
        outs.append(mixed.permute(2, 0, 1, 3).flatten(1, 2))
        sums.append(scores.logsumexp(-1).permute(2, 0, 1).flatten(1))
    return torch.cat(outs), torch.cat(sums)


def _banded(queries: int, keys: int, span: int, like: Tensor) -> Tensor:
    own = torch.arange(keys - queries, keys, device=like.device).unsqueeze(1)
    behind = own - torch.arange(keys, device=like.device)
    return (behind >= 0) & (behind < span)


def flash_varlen() -> VarlenAttention:
    """FlashAttention 2 from the flash-attn package."""
    from flash_attn import flash_attn_varlen_func

    def attend(
        q: Tensor, k: Tensor, v: Tensor, segments: Segments, span: int | None
    ) -> tuple[Tensor, Tensor]:
        out, lse, _ = flash_attn_varlen_func(
            q, k, v, segments.query_edges, segments.key_edges,
            max(segments.queries), max(segments.keys),
            causal=span is not None, window_size=_window(span), return_attn_probs=True,
        )  # fmt: skip
        return out, lse.transpose(0, 1)

    return attend


def torch_varlen() -> VarlenAttention:
    """The FlashAttention inside PyTorch 2.11 to 2.15 (``torch.nn.attention.varlen``)."""
    varlen: Any = __import__("torch.nn.attention.varlen", fromlist=["varlen_attn"])
    known = inspect.signature(varlen.varlen_attn).parameters

    def attend(
        q: Tensor, k: Tensor, v: Tensor, segments: Segments, span: int | None
    ) -> tuple[Tensor, Tensor]:
        options: dict[str, Any] = {"window_size": _window(span)}
        if "enable_gqa" in known:  # since 2.12; before, heads were not compared
            options["enable_gqa"] = q.shape[1] != k.shape[1]
        out, lse = varlen.varlen_attn(
            q, k, v, segments.query_edges, segments.key_edges,
            max(segments.queries), max(segments.keys),
            return_aux=varlen.AuxRequest(lse=True), **options,
        )  # fmt: skip
        return out, lse.transpose(0, 1)  # (H, T) on CUDA, whatever the docstring says

    return attend


def _window(span: int | None) -> tuple[int, int]:
    return (-1, -1) if span is None else (span - 1, 0)


def merge(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> Tensor:
    """Attention over two sets of keys from the attention over each; exact, up to rounding."""
    peak = torch.maximum(lse, other_lse)
    first, second = (lse - peak).exp(), (other_lse - peak).exp()
    share = (first / (first + second)).unsqueeze(-1)
    return (out.float() * share + other.float() * (1 - share)).to(out.dtype)
