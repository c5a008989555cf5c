"""Which keys the chunks of a step need, as indices: once per step and layer type.

A hybrid chunk of queries p..p+n-1 (n <= window W, stride S) takes two calls, then a merge:

    window    the last W-1 tokens before p (from the ring) and the chunk, each query seeing W keys
    globals   queries cut at multiples of S: all of one block see the same globals 0, S, 2S, ...
              that have left their windows; no query of the first W tokens has any

A window chunk takes the first call alone, a full one the same over everything before p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.model.attention.layout import SlotLayout
from avikam.model.attention.plan import Chunk
from avikam.model.attention.transfer import sent
from avikam.model.attention.varlen import Segments


@dataclass(frozen=True, slots=True)
class Entries:
    """Places in a layer's storage: slot [n] and entry [n]."""

    slots: Tensor
    entries: Tensor

    @classmethod
    def of(cls, parts: list[tuple[int, Tensor]], device: str) -> Entries:
        """From (slot, its entries) pairs."""
        slots = [torch.full_like(entries, slot) for slot, entries in parts]
        entries = torch.cat([entries for _, entries in parts])
        return cls(sent(torch.cat(slots), device), sent(entries, device))


@dataclass(frozen=True, slots=True)
class GlobalCall:
    """``rows`` of the chunks' queries that see globals, and where those lie."""

    rows: Tensor
    keys: Entries
    segments: Segments


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """``history`` and the fresh rows, reordered by ``order``, are the window call's keys."""

    history: Entries
    order: Tensor
    segments: Segments
    span: int
    globals: GlobalCall | None
    writes: Entries
    moved_from: Entries
    moved_to: Entries


def plan_prefill(chunks: tuple[Chunk, ...], layout: SlotLayout, device: str) -> PrefillPlan:
    """Indices for ``chunks``, whose rows follow one another."""
    histories = [(c.slot, _history(c, layout)) for c in chunks]
    positions = [(c.slot, torch.arange(c.position, c.position + c.length)) for c in chunks]
    moves = [(slot, layout.evicted(p)[1]) for slot, p in positions]
    known = [len(entries) for _, entries in histories]
    return PrefillPlan(
        Entries.of(histories, device),
        sent(_interleaved(known, [c.length for c in chunks]), device),
        Segments.of(
            [c.length for c in chunks],
            [k + c.length for k, c in zip(known, chunks, strict=True)],
            device,
        ),
        layout.window if layout.ring else layout.length,
        _global_call(chunks, layout, device) if layout.hybrid else None,
        Entries.of([(slot, layout.write_index(p)) for slot, p in positions], device),
        Entries.of([(slot, move.source) for slot, move in moves], device),
        Entries.of([(slot, move.target) for slot, move in moves], device),
    )


def _history(chunk: Chunk, layout: SlotLayout) -> Tensor:
    """Entries of the tokens before the chunk that its first query's window holds, in order."""
    first = max(0, chunk.position - layout.window + 1) if layout.ring else 0
    return layout.write_index(torch.arange(first, chunk.position))


def _interleaved(known: list[int], fresh: list[int]) -> Tensor:
    """Order that puts each chunk's history before its own rows."""
    parts, old, new = [], 0, sum(known)
    for k, n in zip(known, fresh, strict=True):
        parts += [torch.arange(old, old + k), torch.arange(new, new + n)]
        old, new = old + k, new + n
    return torch.cat(parts)


def _global_call(chunks: tuple[Chunk, ...], layout: SlotLayout, device: str) -> GlobalCall | None:
    rows: list[Tensor] = []
    keys: list[tuple[int, Tensor]] = []
    start = 0
    for chunk in chunks:
        end = chunk.position + chunk.length
        at = max(chunk.position, layout.window)
        while at < end:
            until = min(end, (at // layout.stride + 1) * layout.stride)
            offset = start - chunk.position
            rows.append(torch.arange(at + offset, until + offset))
            keys.append((chunk.slot, _globals_before(at, chunk.position, layout)))
            at = until
        start += chunk.length
    if not rows:
        return None
    segments = Segments.of([len(r) for r in rows], [len(k) for _, k in keys], device)
    return GlobalCall(sent(torch.cat(rows), device), Entries.of(keys, device), segments)


def _globals_before(query: int, seen: int, layout: SlotLayout) -> Tensor:
    """Entries of the globals outside ``query``'s window, after ``seen`` tokens."""
    count = (query - layout.window) // layout.stride + 1
    positions = torch.arange(count) * layout.stride
    in_ring = positions >= seen - layout.window
    return torch.where(
        in_ring, positions % layout.window, layout.window + positions // layout.stride
    )
