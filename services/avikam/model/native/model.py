"""A decoder of int8 or four-bit weights whose step is one native call."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.config import LayerType, ModelConfig
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.library import (
    EMBED,
    FEED,
    FINAL,
    LANES,
    MIX,
    QKV,
    WHOLE,
    Layer,
    Matrix,
    Work,
    address,
)
from avikam.model.native.panels import (
    GROUP,
    int4_panels,
    int8_panels,
    padded_outputs,
    padded_vector,
)
from avikam.model.native.shape import shape_of, unsupported
from avikam.model.native.slots import NativeSlots
from avikam.model.quantize import SCALE_SUFFIX, dequantize_rows, quantize_rows
from avikam.model.rotary import rotary_table
from avikam.model.transformer import Adapt, Attend, split_qkv

Bits = Literal[4, 8]
_NORMS = ("attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm")
_HEAD_NORMS = ("q_norm", "k_norm")


class NativeModel:
    """Called like :class:`~avikam.model.transformer.Avikam1`; attends through its own slots.

    ``bits`` is that of the layers' matrices; embeddings and head stay at eight.
    """

    adapts = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))  # what an adapter may change

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        slots: NativeSlots,
        bits: Bits = 8,
    ) -> None:
        problem = unsupported(config, bits)
        if problem:
            raise NativeUnavailableError(problem)
        self.config = config
        self._bits = bits
        self._slots = slots
        self._library = slots.library
        self._kept: list[Tensor] = []  # what the structures point into
        self._weights = weights
        self._rotary = self._tables()
        self._layers = (Layer * config.num_layers)(*map(self._layer, range(config.num_layers)))
        self._model = shape_of(config)
        codes, scale = self._codes("embed.weight")
        self._model.embed_scale = self._keep(scale)
        if not config.tie_embeddings:
            self._model.embed = self._keep(codes)
        self._model.final_norm = self._keep(weights["norm.weight"].float())
        self._model.layers = self._layers
        self._model.head = self._int8("embed" if config.tie_embeddings else "head")
        self._weights = {}
        self._buffers = _Buffers(config, bits, 1, slots.scratch_bytes)

    def __call__(
        self, tokens: Tensor, positions: Tensor, attend: Attend, adapt: Adapt | None = None
    ) -> Tensor:
        """Normalised hidden states [rows, hidden] of the step that the slots have begun."""
        if attend != self._slots.attend:
            raise ValueError("a native model attends through the slots it was made with")
        if len(tokens) != len(positions):
            raise ValueError(f"{len(tokens)} tokens for {len(positions)} positions")
        buffers = self._room(len(tokens))
        if adapt is None:
            self._run(tokens, 0, self.config.num_layers, WHOLE)
        else:
            self._run_adapted(tokens, adapt)
        return buffers.normed[: len(tokens), : self.config.hidden_size].clone()

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 logits [rows, vocab] of hidden states [rows, hidden]."""
        buffers = self._room(len(hidden))
        out = torch.empty(len(hidden), padded_outputs(self.config.vocab_size))
        self._slots.crew.run(
            self._library.logits, byref(self._model), byref(buffers.work),
            address(hidden.contiguous()), len(hidden), address(out), out.shape[1],
        )  # fmt: skip
        return out[:, : self.config.vocab_size]

    def _run(self, tokens: Tensor, first: int, last: int, stages: int) -> None:
        rows = self._slots.rows(tokens)
        self._slots.crew.run(
            self._library.step, byref(self._model), byref(self._buffers.work), byref(rows),
            first, last, stages,
        )  # fmt: skip

    def _run_adapted(self, tokens: Tensor, adapt: Adapt) -> None:
        """The same stages one by one, with adapters between them."""
        config, rows = self.config, len(tokens)
        normed = self._buffers.normed[:rows, : config.hidden_size]
        qkv = self._buffers.qkv[:rows, : config.qkv_rows]
        mixed = self._buffers.mixed[:rows, : config.mixed_size]
        out = self._buffers.out[:rows, : config.hidden_size]
        self._run(tokens, 0, 0, EMBED)
        for i in range(config.num_layers):
            self._run(tokens, i, i + 1, QKV)
            parts = zip(("q_proj", "k_proj", "v_proj"), split_qkv(qkv, config), strict=True)
            _write_qkv(
                qkv, [adapt(i, name, normed, part.flatten(-2)) for name, part in parts], config
            )
            self._run(tokens, i, i + 1, MIX)
            out.copy_(adapt(i, "o_proj", mixed, out))
            self._run(tokens, i, i + 1, FEED)
        self._run(tokens, config.num_layers, config.num_layers, FINAL)

    def _room(self, rows: int) -> _Buffers:
        rows = max(rows, self._slots.crew.most)  # a member may prepare a row of its own
        if self._buffers.rows < rows:
            self._buffers = _Buffers(self.config, self._bits, rows, self._slots.scratch_bytes)
        return self._buffers

    def _layer(self, index: int) -> Layer:
        name = f"blocks.{index}"
        return Layer(
            **{norm: self._norm(f"{name}.{norm}.weight") for norm in _NORMS},
            **{norm: self._norm(f"{name}.attention.{norm}.weight") for norm in _HEAD_NORMS},
            rotary=self._rotary[self.config.layer_types[index]],
            qkv=self._matrix(f"{name}.attention.qkv_proj"),
            o=self._matrix(f"{name}.attention.o_proj"),
            up=self._matrix(f"{name}.ffn.up_proj"),
            down=self._matrix(f"{name}.ffn.down_proj"),
            slots=self._slots.storage(index),
            kind=self._slots.kind(index),
        )

    def _tables(self) -> dict[LayerType, int]:
        """Rotary tables by kind of layer."""
        table = self._keep(rotary_table(self.config))
        local = table
        if self.config.rope_local_theta:
            local = self._keep(rotary_table(self.config, local=True))
        return {"hybrid": table, "window": local, "full": table}

    def _norm(self, name: str) -> int | None:
        """A norm's weights with zeros up to whole lanes; none where the model has none."""
        weight = self._weights.get(name)
        if weight is None:
            return None
        return self._keep(F.pad(weight.float(), (0, -len(weight) % LANES)))

    def _codes(self, name: str) -> tuple[Tensor, Tensor]:
        stored = self._weights[name]
        if stored.dtype == torch.int8:
            return stored, self._weights[name + SCALE_SUFFIX].float()
        return quantize_rows(stored)

    def _matrix(self, name: str) -> Matrix:
        return self._int8(name) if self._bits == 8 else self._int4(name)

    def _int8(self, name: str) -> Matrix:
        codes, scale = self._codes(f"{name}.weight")
        outputs, inputs = codes.shape
        return Matrix(
            self._keep(int8_panels(codes)), self._keep(padded_vector(scale)), self._bias(name),
            inputs, outputs, self.config.scale_group, 8,
        )  # fmt: skip

    def _int4(self, name: str) -> Matrix:
        stored = self._weights[f"{name}.weight"]
        if stored.dtype == torch.int8:
            stored = dequantize_rows(stored, self._weights[f"{name}.weight{SCALE_SUFFIX}"])
        outputs, inputs = stored.shape
        return Matrix(
            self._keep(int4_panels(stored)), None, self._bias(name), inputs, outputs, GROUP, 4
        )

    def _bias(self, name: str) -> int | None:
        bias = self._weights.get(f"{name}.bias")
        return None if bias is None else self._keep(padded_vector(bias))

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor.contiguous())
        return address(self._kept[-1])


class _Buffers:
    """Room for the rows of a step."""

    def __init__(self, config: ModelConfig, bits: Bits, rows: int, scratch: int) -> None:
        self.rows = rows
        hidden, qkv = padded_outputs(config.hidden_size), padded_outputs(config.qkv_rows)
        mixed, wide = padded_outputs(config.mixed_size), padded_outputs(config.intermediate_size)
        up = padded_outputs(config.intermediate_size * (2 if config.gated else 1))
        widest = max(hidden, mixed, wide)
        groups = widest // min(config.scale_group or widest, GROUP if bits == 4 else widest)
        self.normed, self.mixed, self.out, self.qkv = (
            torch.zeros(rows, size) for size in (hidden, mixed, hidden, qkv)
        )
        self._rest = (
            torch.zeros(rows, hidden),
            torch.zeros(rows, up),
            torch.zeros(rows, wide if config.gated else 0),
            torch.zeros(rows, widest, dtype=torch.int8),
            torch.zeros(rows, 2 * groups),  # float scale, int32 sum
            torch.zeros(rows, scratch, dtype=torch.uint8),
        )
        x, both, gates, codes, scales, room = self._rest
        tensors = (x, self.normed, self.qkv, self.mixed, self.out, both, gates, codes, scales, room)
        self.work = Work(
            *map(address, tensors), hidden, qkv, mixed, up, gates.shape[1], widest, groups, scratch
        )


def _write_qkv(qkv: Tensor, parts: list[Tensor], config: ModelConfig) -> None:
    """Put adapted queries, keys and values back into the packed rows."""
    groups = config.num_groups
    grouped = [part.unflatten(-1, (groups, -1, config.head_dim)) for part in parts]
    qkv.copy_(torch.cat(grouped, dim=-2).flatten(1))
