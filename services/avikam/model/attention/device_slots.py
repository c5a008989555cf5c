"""Slots on a GPU: fixed shapes for decoding, flash calls for prompts.

Storage is [slots + 1, Hkv, entries, D]. The last slot belongs to nobody: rows that pad a batch to
the size of a CUDA graph write there. What a decode row needs follows from (slot, position) by
arithmetic on the device, so a step has no shape and no branch that depends on positions:

    write    position % window
    target   where the entry at ``write`` goes first: behind the ring when it is a global that
             leaves it, else onto itself
    valid    how many entries count afterwards
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.model.attention.decode import DecodeAttention
from avikam.model.attention.layout import SlotLayout
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.prefill_plan import PrefillPlan, plan_prefill
from avikam.model.attention.slots import SlotState
from avikam.model.attention.transfer import sent
from avikam.model.attention.varlen import VarlenAttention, merge
from avikam.model.config import LayerType, ModelConfig


@dataclass(frozen=True, slots=True)
class Backend:
    """How a device attends: the two calls, and a name for logs and /info."""

    name: str
    decode: DecodeAttention
    varlen: VarlenAttention


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """Per decode row [B]: its slot, where it writes, what that write saves first, what it sees."""

    slots: Tensor
    write: Tensor
    target: Tensor
    valid: Tensor

    @classmethod
    def of(cls, slots: Tensor, positions: Tensor, layout: SlotLayout) -> DecodeRows:
        """The rows of a decode step: ``slots`` and ``positions`` are (rows,), on the device."""
        seen = positions + 1
        if not layout.ring:
            return cls(slots, positions, positions, seen)
        window, stride = layout.window, layout.stride
        write, old = positions % window, positions - window
        if not layout.hybrid:
            return cls(slots, write, write, torch.clamp(seen, max=window))
        leaving = (old >= 0) & (old % stride == 0)
        target = torch.where(leaving, window + old.div(stride, rounding_mode="floor"), write)
        kept = (old + stride).clamp(min=0).div(stride, rounding_mode="floor")
        return cls(slots, write, target, torch.clamp(seen, max=window) + kept)


class DeviceSlots(SlotState):
    """Float slots whose attention is a :class:`Backend`'s."""

    name = "device"

    def __init__(
        self, config: ModelConfig, slots: int, device: str, dtype: torch.dtype, backend: Backend
    ) -> None:
        self._dtype = dtype
        self._backend = backend
        super().__init__(config, slots, device)
        # A class has one name elsewhere; here the backend decides.
        self.name = backend.name  # type: ignore[misc]
        self._decode: dict[LayerType, DecodeRows] = {}
        self._prefill: dict[LayerType, PrefillPlan] = {}
        self._decoding = 0

    @property
    def nobody(self) -> int:
        """The slot of rows that only fill up a batch."""
        return self.slots

    def begin(self, plan: StepPlan) -> None:
        """Prepare a step: what :meth:`attend` of every layer needs to know of it."""
        slots = torch.tensor(plan.decode_slots, dtype=torch.long)
        positions = torch.tensor(plan.decode_positions, dtype=torch.long)
        self.begin_decode(sent(slots, self.device), sent(positions, self.device))
        if plan.chunks:
            self._prefill = {
                kind: plan_prefill(plan.chunks, layout, self.device)
                for kind, layout in self.layouts.items()
            }

    def begin_decode(self, slots: Tensor, positions: Tensor) -> None:
        """A step of decode rows alone, from tensors [B] on the device; a graph may hold it."""
        self._prefill = {}
        self._decoding = len(slots)
        self._decode = {
            kind: DecodeRows.of(slots, positions, layout) for kind, layout in self.layouts.items()
        }

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One layer's attention, of q (tokens, heads, size) to k and v (tokens, kv heads, size).

        The mixed values have the shape of q.
        """
        kind = self.config.layer_types[layer]
        keys, values = self._layers[layer]
        q, k, v = (t.to(self._dtype) for t in (q, k, v))
        rows = self._decoding
        outs = []
        if rows:
            mine = self._decode[kind]
            for tensor, new in ((keys, k[:rows]), (values, v[:rows])):
                tensor[mine.slots, :, mine.target] = tensor[mine.slots, :, mine.write]
                tensor[mine.slots, :, mine.write] = new
            outs.append(self._backend.decode(q[:rows], keys, values, mine.slots, mine.valid))
        if self._prefill:
            outs.append(
                self._attend_chunks(self._prefill[kind], keys, values, q[rows:], k[rows:], v[rows:])
            )
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def _attend_chunks(
        self, plan: PrefillPlan, keys: Tensor, values: Tensor, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        known = [
            torch.cat((tensor[plan.history.slots, :, plan.history.entries], new))[plan.order]
            for tensor, new in ((keys, k), (values, v))
        ]
        out, lse = self._backend.varlen(q, known[0], known[1], plan.segments, plan.span)
        if plan.globals is not None:
            rows, at = plan.globals.rows, plan.globals.keys
            far, far_lse = self._backend.varlen(
                q[rows],
                keys[at.slots, :, at.entries],
                values[at.slots, :, at.entries],
                plan.globals.segments,
                None,
            )
            out = out.index_copy(0, rows, merge(out[rows], lse[rows], far, far_lse))
        for tensor, new in ((keys, k), (values, v)):
            saved = tensor[plan.moved_from.slots, :, plan.moved_from.entries]
            tensor[plan.moved_to.slots, :, plan.moved_to.entries] = saved
            tensor[plan.writes.slots, :, plan.writes.entries] = new
        return out

    def _storage(self, length: int) -> list[Tensor]:
        shape = (self.slots + 1, self.config.num_kv_heads, length, self.config.head_dim)
        return [torch.zeros(shape, dtype=self._dtype, device=self.device) for _ in range(2)]
