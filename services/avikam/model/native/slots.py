"""Slots in the native library's layout: int8, a quarter of the memory of float slots."""

from __future__ import annotations

from ctypes import byref

import torch
from torch import Tensor

from avikam.model.attention.plan import StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import EntryFormat, Snapshot
from avikam.model.config import ModelConfig
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.crew import Crew
from avikam.model.native.library import (
    KINDS,
    LANES,
    QUERIES,
    Layer,
    Library,
    Rows,
    Storage,
    Work,
    address,
    load_library,
)
from avikam.model.native.shape import padded_dim, shape_of, unsupported_slots

_FLOAT = 4  # bytes
_QUAD = 4  # bytes that one instruction multiplies and adds
_SIGN = 128  # keys are stored plus this
_BLOCK_ROWS = 8  # of a prompt that pass over a full layer's entries together


class NativeSlots(SlotState):
    """Keys and values as ``attention.h`` draws them; a chunk is a run of single tokens there.

    Raises :class:`~avikam.model.native.build.NativeUnavailableError` where there is no library.
    """

    name = "cpu-int8-native"

    def __init__(self, config: ModelConfig, slots: int, library: Library | None = None) -> None:
        problem = unsupported_slots(config)
        if problem:
            raise NativeUnavailableError(problem)
        self.library = library or load_library()
        self.crew = Crew(self.library)
        super().__init__(config, slots)
        self._rows = _StepRows(StepPlan((), ()))
        self._layer_table = (Layer * config.num_layers)(
            *(Layer(slots=self.storage(i), kind=self.kind(i)) for i in range(config.num_layers))
        )
        self._shape = shape_of(config)
        self._shape.layers = self._layer_table

    @property
    def scratch_bytes(self) -> int:
        """What one thread needs to attend: a score and a code per query and entry."""
        longest = max(self.storage(i).length for i in range(self.config.num_layers))
        return QUERIES * longest * (_FLOAT + 1)

    @property
    def longest_chunk(self) -> int:
        return self.config.max_positions

    def begin(self, plan: StepPlan) -> None:
        self._rows = _StepRows(plan)

    def rows(self, tokens: Tensor | None = None) -> Rows:
        """The step's rows for the library; valid until the next :meth:`begin`."""
        return self._rows.of(tokens)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups, size = self.config.num_groups, self.scratch_bytes
        grouped = [t.float().unflatten(1, (groups, -1)) for t in (q, k, v)]
        qkv = torch.cat(grouped, dim=2).flatten(1).contiguous()
        mixed = torch.empty(len(q), self.config.mixed_size)
        scratch = torch.empty(self.crew.most, size, dtype=torch.uint8)
        work = Work(
            qkv=address(qkv),
            mixed=address(mixed),
            scratch=address(scratch),
            qkv_stride=qkv.shape[1],
            mixed_stride=mixed.shape[1],
            scratch_stride=size,
        )
        self.crew.run(
            self.library.attend, byref(self._shape), byref(work), byref(self.rows()), layer
        )
        return mixed.view_as(q).to(q.dtype)

    def storage(self, layer: int) -> Storage:
        """One layer's tensors for the library."""
        keys, key_scale, values, value_scale = self._layers[layer]
        length = key_scale.shape[-1]
        return Storage(*map(address, (keys, key_scale, values, value_scale)), length)

    def kind(self, layer: int) -> int:
        """The layer's kind, as the library numbers it."""
        return KINDS.index(self.config.layer_types[layer])

    def entry_formats(self, layer: int, seen: int) -> tuple[EntryFormat, ...]:
        valid = self.layouts[self.config.layer_types[layer]].valid(seen)
        heads, channels = self.config.num_kv_heads, self.config.head_dim
        codes = EntryFormat(torch.int8, (heads, valid, channels))
        scales = EntryFormat(torch.float32, (heads, valid))
        return codes, scales, codes, scales

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        for layer, saved in zip(self._layers, snapshot.layers, strict=True):
            keys, key_scale, values, value_scale = (tensor[slot] for tensor in layer)
            count = saved[0].shape[1]
            blocks = -(-count // LANES)
            keys[:, :blocks] = _packed_keys(saved[0], keys.shape[2])
            values[:, : blocks * LANES // _QUAD] = _packed_values(saved[2], values.shape[2])
            key_scale[:, :count], value_scale[:, :count] = saved[1], saved[3]

    def _storage(self, length: int) -> list[Tensor]:
        blocks, dim = -(-length // LANES), padded_dim(self.config)
        heads = (self.slots, self.config.num_kv_heads)
        keys = torch.zeros(*heads, blocks, dim // _QUAD, LANES, _QUAD, dtype=torch.uint8)
        values = torch.zeros(*heads, blocks * LANES // _QUAD, dim, _QUAD, dtype=torch.int8)
        scales = [torch.zeros(*heads, blocks * LANES) for _ in range(2)]
        return [keys, scales[0], values, scales[1]]

    def _entries(self, layer: list[Tensor], slot: int) -> list[Tensor]:
        keys, key_scale, values, value_scale = (tensor[slot] for tensor in layer)
        words = keys.view(torch.int32).squeeze(-1).transpose(2, 3).flatten(1, 2)
        codes = words.contiguous().view(torch.uint8).bitwise_xor(_SIGN).view(torch.int8)
        channels = self.config.head_dim
        mixed = values.transpose(2, 3).flatten(1, 2)
        return [codes[..., :channels], key_scale, mixed[..., :channels], value_scale]

    def _snapshot_types(self) -> list[torch.dtype]:
        return [torch.int8, torch.float32, torch.int8, torch.float32]


class _StepRows:
    """A step's rows: decoded tokens first, each a run of its own, then the chunks."""

    def __init__(self, plan: StepPlan) -> None:
        slots, runs, blocks = list(plan.decode_slots), [], []
        for row in range(len(slots)):
            runs.append((row, 1))
            blocks.append((row, 1))
        for chunk in plan.chunks:
            first = len(slots)
            slots += [chunk.slot] * chunk.length
            runs.append((first, chunk.length))
            blocks += [
                (first + at, min(_BLOCK_ROWS, chunk.length - at))
                for at in range(0, chunk.length, _BLOCK_ROWS)
            ]
        self._positions = plan.positions()
        self._slots, self._runs, self._blocks = (
            torch.tensor(values, dtype=torch.long) for values in (slots, runs, blocks)
        )

    def of(self, tokens: Tensor | None) -> Rows:
        return Rows(
            len(self._positions),
            None if tokens is None else address(tokens),
            *map(address, (self._positions, self._slots, self._runs, self._blocks)),
            len(self._runs),
            len(self._blocks),
        )


def _filled(codes: Tensor, channels: int) -> Tensor:
    """Codes [H, N, D] with zeros up to whole blocks and ``channels``."""
    missing = (0, channels - codes.shape[2], 0, -codes.shape[1] % LANES)
    return torch.nn.functional.pad(codes, missing)


def _packed_keys(codes: Tensor, quads: int) -> Tensor:
    """[H, N, D] as [H, N / 16, D / 4, 16, 4], plus 128."""
    filled = _filled(codes, quads * _QUAD).view(torch.uint8).bitwise_xor(_SIGN)
    return filled.unflatten(1, (-1, LANES)).unflatten(3, (-1, _QUAD)).transpose(2, 3)


def _packed_values(codes: Tensor, channels: int) -> Tensor:
    """[H, N, D] as [H, N / 4, D, 4]."""
    return _filled(codes, channels).unflatten(1, (-1, _QUAD)).transpose(2, 3)
