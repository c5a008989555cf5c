"""The slots of a sharded model, as the engine sees them: states are whole, heads side by side.

A snapshot has the form that one rank alone would give it, so prefixes travel between workers of
any number of ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.engine.parallel.control import ControlChannel
from avikam.model.attention.snapshot import EntryFormat, SlotStore, Snapshot
from avikam.model.config import ModelConfig


class ShardedSlots:
    """Rank 0's view; each rank keeps its heads."""

    def __init__(self, config: ModelConfig, own: SlotStore, control: ControlChannel) -> None:
        self.config = config
        self.name = own.name
        self.slots = own.slots
        self.device = own.device
        self._own = own
        self._control = control

    @property
    def longest_chunk(self) -> int:
        """Tokens that one step may add to a slot."""
        return self._own.longest_chunk

    def bytes_per_slot(self) -> int:
        """Of all ranks together."""
        return self._own.bytes_per_slot() * self._control.ranks

    def entry_formats(self, layer: int, seen: int) -> tuple[EntryFormat, ...]:
        """Formats of a whole layer after ``seen`` tokens: the heads of all ranks."""
        ranks = self._control.ranks
        return tuple(
            EntryFormat(form.dtype, (form.shape[0] * ranks, *form.shape[1:]))
            for form in self._own.entry_formats(layer, seen)
        )

    def clear(self, slot: int) -> None:
        """Forget a slot on every rank."""
        self._control.send({"do": "clear", "slot": slot})
        self._own.clear(slot)

    def snapshot(self, slot: int, seen: int) -> Snapshot:
        """The whole state of a slot, gathered from every rank."""
        with self._control.exchange:
            self._control.send({"do": "snapshot", "slot": slot, "seen": seen})
            parts = self._control.gather(flatten(self._own.snapshot(slot, seen)))
        states = [unflatten(part, self._own, seen) for part in parts]
        return Snapshot(seen, tuple(_joined(layers) for layers in zip(*states, strict=True)))

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Give every rank its part of a state."""
        parts = [self._part(snapshot, rank) for rank in range(self._control.ranks)]
        with self._control.exchange:
            self._control.send({"do": "restore", "slot": slot, "seen": snapshot.seen})
            self._control.spread(torch.stack([flatten(part) for part in parts]))
        self._own.restore(slot, parts[0])

    def _part(self, snapshot: Snapshot, rank: int) -> Snapshot:
        """One rank's heads of a whole state."""
        ranks = self._control.ranks
        return Snapshot(
            snapshot.seen,
            tuple(tuple(t.chunk(ranks)[rank] for t in layer) for layer in snapshot.layers),
        )


def _joined(layers: tuple[tuple[Tensor, ...], ...]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(heads) for heads in zip(*layers, strict=True))


def flatten(snapshot: Snapshot) -> Tensor:
    """All of a state's bytes in one row."""
    tensors = [tensor for layer in snapshot.layers for tensor in layer]
    return torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])


def unflatten(row: Tensor, slots: SlotStore, seen: int) -> tuple[tuple[Tensor, ...], ...]:
    """The tensors of a state after ``seen`` tokens, from its bytes."""
    layers, start = [], 0
    for layer in range(slots.config.num_layers):
        tensors = []
        for form in slots.entry_formats(layer, seen):
            part = row[start : start + form.bytes].clone()
            tensors.append(part.view(form.dtype).view(form.shape))
            start += form.bytes
        layers.append(tuple(tensors))
    return tuple(layers)
