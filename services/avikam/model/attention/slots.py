"""Slot storage of all layers, and the walk from a step's rows to attention and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from avikam.model.attention.layout import Moves, SlotLayout
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.snapshot import EntryFormat, Snapshot
from avikam.model.attention.transfer import sent
from avikam.model.config import LayerType, ModelConfig
from avikam.model.masks import visible

_BUCKET = 32  # decode lengths are rounded up to this


@dataclass(frozen=True, slots=True)
class _DecodeStep:
    """Indices that one step's decode rows need in one layer type."""

    slots: Tensor
    write: Tensor
    moving: Tensor
    moves: Moves
    length: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class _ChunkStep:
    """The same for one chunk."""

    chunk: Chunk
    write: Tensor
    moves: Moves
    known: int
    mask: Tensor


class SlotState(ABC):
    """Keys and values of ``slots`` sequences: what every way to store and read them has in common.

    Use: :meth:`begin` with the step's plan, then :meth:`attend` once per layer, in order.
    """

    name: ClassVar[str]

    def __init__(self, config: ModelConfig, slots: int, device: str = "cpu") -> None:
        self.config = config
        self.slots = slots
        self.device = device
        kinds: list[LayerType] = sorted(set(config.layer_types))
        self.layouts = {kind: SlotLayout(config, kind) for kind in kinds}
        self._layers = [self._storage(config.slot_length(i)) for i in range(config.num_layers)]

    @property
    def longest_chunk(self) -> int:
        """Tokens that one step may add to a slot."""
        return min(layout.longest_chunk for layout in self.layouts.values())

    def bytes_per_slot(self) -> int:
        """Memory of one sequence over all layers."""
        total = sum(t.numel() * t.element_size() for layer in self._layers for t in layer)
        return total // self.slots

    def clear(self, slot: int) -> None:
        """Zero a slot. Unused entries get weight 0, which only finite values survive: a sequence
        that ended in NaN must not leave them to the next one."""
        for layer in self._layers:
            for tensor in layer:
                tensor[slot].zero_()

    def snapshot(self, slot: int, seen: int) -> Snapshot:
        """A copy, in host memory, of what ``slot`` holds after ``seen`` tokens."""
        return Snapshot(
            seen,
            tuple(
                tuple(
                    entries[:, : form.shape[1]].to("cpu", form.dtype, copy=True).contiguous()
                    for entries, form in zip(
                        self._entries(layer, slot), self.entry_formats(i, seen), strict=True
                    )
                )
                for i, layer in enumerate(self._layers)
            ),
        )

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Make ``slot`` what it was when the snapshot was taken."""
        for layer, saved in zip(self._layers, snapshot.layers, strict=True):
            for mine, entries in zip(self._entries(layer, slot), saved, strict=True):
                mine[:, : entries.shape[1]] = sent(entries, self.device)

    def entry_formats(self, layer: int, seen: int) -> tuple[EntryFormat, ...]:
        """What a snapshot of ``seen`` tokens holds of ``layer``, in storage's order."""
        valid = self.layouts[self.config.layer_types[layer]].valid(seen)
        return tuple(
            EntryFormat(dtype, (entries.shape[0], valid, *entries.shape[2:]))
            for entries, dtype in zip(
                self._entries(self._layers[layer], 0), self._snapshot_types(), strict=True
            )
        )

    @abstractmethod
    def begin(self, plan: StepPlan) -> None:
        """Compute once what every layer of the coming step shares."""

    @abstractmethod
    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write k, v [rows, Hkv, D] to their slots; answer q [rows, H, D] over what is visible."""

    @abstractmethod
    def _storage(self, length: int) -> list[Tensor]:
        """Zeroed tensors of one layer, slots first."""

    def _entries(self, layer: list[Tensor], slot: int) -> list[Tensor]:
        """Views of one slot's tensors in one layer, each [Hkv, length, ...]."""
        return [tensor[slot] for tensor in layer]

    def _snapshot_types(self) -> list[torch.dtype]:
        """The smallest types that hold storage's values exactly, in storage's order."""
        return [tensor.dtype for tensor in self._layers[0]]


class SlotCache(SlotState):
    """Slots in tensors [slots, Hkv, length, ...]; subclasses say how one entry is stored."""

    def __init__(self, config: ModelConfig, slots: int, device: str = "cpu") -> None:
        super().__init__(config, slots, device)
        self._plan = StepPlan((), ())
        self._decode: dict[LayerType, _DecodeStep] = {}
        self._chunks: dict[LayerType, list[_ChunkStep]] = {}

    def begin(self, plan: StepPlan) -> None:
        """Prepare a step: what :meth:`attend` of every layer needs to know of it."""
        self._plan = plan
        for kind, layout in self.layouts.items():
            if plan.decode_slots:
                self._decode[kind] = self._decode_step(plan, layout)
            self._chunks[kind] = [self._chunk_step(c, layout, kind) for c in plan.chunks]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One layer's attention, of q (tokens, heads, size) to k and v (tokens, kv heads, size).

        The mixed values have the shape of q.
        """
        kind = self.config.layer_types[layer]
        share = self.config.num_heads // self.config.num_kv_heads
        folded = q.unflatten(1, (self.config.num_kv_heads, share))
        storage = self._layers[layer]
        outs = []
        row = len(self._plan.decode_slots)
        if row:
            entry = self._entry(k[:row], v[:row])
            outs.append(self._attend_decode(storage, self._decode[kind], folded[:row], entry))
        for step in self._chunks[kind]:
            end = row + step.chunk.length
            entry = self._entry(k[row:end], v[row:end])
            outs.append(self._attend_chunk(storage, step, folded[row:end], entry))
            row = end
        out = outs[0] if len(outs) == 1 else torch.cat(outs)
        return out.flatten(1, 2)

    def _decode_step(self, plan: StepPlan, layout: SlotLayout) -> _DecodeStep:
        positions = torch.tensor(plan.decode_positions)
        moving, moves = layout.evicted(positions)
        valid = [layout.valid(position + 1) for position in plan.decode_positions]
        length = min(layout.length, -(-max(valid) // _BUCKET) * _BUCKET)
        mask = torch.arange(length) < torch.tensor(valid).unsqueeze(1)
        return _DecodeStep(
            torch.tensor(plan.decode_slots).to(self.device),
            layout.write_index(positions).to(self.device),
            moving.to(self.device),
            moves.to(self.device),
            length,
            mask[:, None, None].to(self.device),
        )

    def _chunk_step(self, chunk: Chunk, layout: SlotLayout, kind: LayerType) -> _ChunkStep:
        positions = torch.arange(chunk.position, chunk.position + chunk.length)
        keys = torch.cat((layout.entry_positions(chunk.position), positions))
        _, moves = layout.evicted(positions)
        known = layout.valid(chunk.position)
        mask = visible(positions, keys, self.config, kind)
        write = layout.write_index(positions).to(self.device)
        return _ChunkStep(chunk, write, moves.to(self.device), known, mask.to(self.device))

    def _attend_decode(
        self, storage: list[Tensor], step: _DecodeStep, q: Tensor, entry: list[Tensor]
    ) -> Tensor:
        moving = step.slots[step.moving]
        for tensor, new in zip(storage, entry, strict=True):
            if len(moving):
                tensor[moving, :, step.moves.target] = tensor[moving, :, step.moves.source]
            tensor[step.slots, :, step.write] = new
        known = [self._rows_of(tensor, step) for tensor in storage]
        return self._mix(q, known, step.mask)

    def _rows_of(self, tensor: Tensor, step: _DecodeStep) -> Tensor:
        """The batch's slots [B, Hkv, length, ...]: a view when they lie side by side."""
        first, last = self._plan.decode_slots[0], self._plan.decode_slots[-1]
        if last - first + 1 == len(self._plan.decode_slots):
            return tensor[first : last + 1, :, : step.length]
        return tensor[:, :, : step.length][step.slots]

    def _attend_chunk(
        self, storage: list[Tensor], step: _ChunkStep, q: Tensor, entry: list[Tensor]
    ) -> Tensor:
        slot = step.chunk.slot
        fresh = [new.transpose(0, 1) for new in entry]
        known = [
            torch.cat((tensor[slot, :, : step.known], new), dim=1)
            for tensor, new in zip(storage, fresh, strict=True)
        ]
        rows, _, share, _ = q.shape
        # [rows, Hkv, share, D] -> [Hkv, share * rows, D]: a key head meets all its queries at once.
        stacked = q.permute(1, 2, 0, 3).flatten(1, 2)
        out = self._mix(stacked, known, step.mask.repeat(share, 1))
        for tensor, new in zip(storage, fresh, strict=True):
            mine = tensor[slot]
            mine[:, step.moves.target] = mine[:, step.moves.source]
            mine[:, step.write] = new
        return out.unflatten(1, (share, rows)).permute(2, 0, 1, 3)

    @abstractmethod
    def _entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        """What is stored of k, v [rows, Hkv, D]: tensors [rows, Hkv, ...], storage's order."""

    @abstractmethod
    def _mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        """Attention of q [..., M, D] over stored entries [..., N, ...] where mask [..., M, N]."""
