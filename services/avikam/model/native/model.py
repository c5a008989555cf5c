"""An int8 Avikam1 whose step is one native call."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref

import torch
from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.library import (
    EMBED,
    FEED,
    FINAL,
    LANES,
    MIX,
    PANEL,
    QKV,
    WHOLE,
    Layer,
    Matrix,
    Work,
    address,
)
from avikam.model.native.slots import NativeSlots, shape_of
from avikam.model.quantize import SCALE_SUFFIX, quantize_rows
from avikam.model.rotary import rotary_table
from avikam.model.transformer import Adapt, Attend, split_qkv


class NativeModel:
    """Called like :class:`~avikam.model.transformer.Avikam1`; attends through its own slots."""

    adapts = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))  # what an adapter may change

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Tensor], slots: NativeSlots
    ) -> None:
        problem = unsupported(config)
        if problem:
            raise NativeUnavailableError(problem)
        self.config = config
        self._slots = slots
        self._library = slots.library
        self._kept: list[Tensor] = []  # what the structures point into
        self._weights = weights
        self._layers = (Layer * config.num_layers)(*map(self._layer, range(config.num_layers)))
        self._model = shape_of(config)
        self._model.rotary = self._keep(rotary_table(config))
        codes, scale = self._codes("embed.weight")
        self._model.embed, self._model.embed_scale = self._keep(codes), self._keep(scale)
        self._model.final_norm = self._keep(weights["norm.weight"].float())
        self._model.layers = self._layers
        self._model.head = self._matrix("embed" if config.tie_embeddings else "head")
        self._weights = {}
        self._buffers = _Buffers(config, 1)

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
        out = torch.empty(len(hidden), _padded(self.config.vocab_size))
        self._library.logits(
            byref(self._model), byref(buffers.work), address(hidden.contiguous()), len(hidden),
            address(out), out.shape[1], torch.get_num_threads(),
        )  # fmt: skip
        return out[:, : self.config.vocab_size]

    def _run(self, tokens: Tensor, first: int, last: int, stages: int) -> None:
        rows = self._slots.rows(tokens)
        self._library.step(
            byref(self._model), byref(self._buffers.work), byref(rows), first, last, stages,
            torch.get_num_threads(),
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
        if self._buffers.rows < rows:
            self._buffers = _Buffers(self.config, rows)
        return self._buffers

    def _layer(self, index: int) -> Layer:
        name = f"blocks.{index}"
        norms = [self._weights[f"{name}.{n}_norm.weight"].float() for n in ("attention", "ffn")]
        return Layer(
            attention_norm=self._keep(norms[0]),
            ffn_norm=self._keep(norms[1]),
            qkv=self._matrix(f"{name}.attention.qkv_proj"),
            o=self._matrix(f"{name}.attention.o_proj"),
            up=self._matrix(f"{name}.ffn.up_proj"),
            down=self._matrix(f"{name}.ffn.down_proj"),
            slots=self._slots.storage(index),
            hybrid=self._slots.is_hybrid(index),
        )

    def _codes(self, name: str) -> tuple[Tensor, Tensor]:
        stored = self._weights[name]
        if stored.dtype == torch.int8:
            return stored, self._weights[name + SCALE_SUFFIX].float()
        return quantize_rows(stored)

    def _matrix(self, name: str) -> Matrix:
        codes, scale = self._codes(f"{name}.weight")
        outputs, inputs = codes.shape
        scale = torch.nn.functional.pad(scale, (0, -outputs % PANEL))
        return Matrix(self._keep(_panels(codes)), self._keep(scale), inputs, outputs)

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor.contiguous())
        return address(self._kept[-1])


class _Buffers:
    """Room for the rows of a step."""

    def __init__(self, config: ModelConfig, rows: int) -> None:
        self.rows = rows
        hidden, qkv = _padded(config.hidden_size), _padded(config.qkv_rows)
        mixed, up = _padded(config.mixed_size), _padded(config.intermediate_size)
        self.normed, self.mixed, self.out, self.qkv = (
            torch.zeros(rows, size) for size in (hidden, mixed, hidden, qkv)
        )
        self._rest = (
            torch.zeros(rows, hidden),
            torch.zeros(rows, up),
            torch.zeros(rows, max(hidden, mixed, up), dtype=torch.int8),
            torch.zeros(rows, 2),  # float scale, int32 sum
        )
        x, wide, codes, scales = self._rest
        tensors = (x, self.normed, self.qkv, self.mixed, self.out, wide, codes, scales)
        self.work = Work(*map(address, tensors), hidden, qkv, mixed, up, codes.shape[1])


def unsupported(config: ModelConfig) -> str:
    """Why a model of this shape cannot run natively; empty when it can."""
    if config.feed_forward != "gelu" or config.num_experts > 1:
        return (
            f"a {config.feed_forward} FFN of {config.num_experts} experts is not written natively"
        )
    for name in ("qkv_bias", "output_bias", "qk_norm", "post_norms", "rope_local_theta"):
        if getattr(config, name):
            return f"{name} is not written natively"
    if config.embed_scale != 1.0:
        return f"embed_scale {config.embed_scale} is not written natively"
    for name in ("hidden_size", "mixed_size", "intermediate_size"):
        if getattr(config, name) % LANES:
            return f"{name} {getattr(config, name)} is not a multiple of {LANES}"
    return ""


def _padded(outputs: int) -> int:
    return -(-outputs // PANEL) * PANEL


def _panels(codes: Tensor) -> Tensor:
    """int8 [N, K] as uint8 [N / 64, K / 4, 64, 4], plus 128 (``product.h``)."""
    filled = torch.nn.functional.pad(codes, (0, 0, 0, -codes.shape[0] % PANEL))
    shifted = filled.contiguous().view(torch.uint8).bitwise_xor(128)
    return shifted.unflatten(0, (-1, PANEL)).unflatten(2, (-1, 4)).transpose(1, 2).contiguous()


def _write_qkv(qkv: Tensor, parts: list[Tensor], config: ModelConfig) -> None:
    """Put adapted queries, keys and values back into the packed rows."""
    groups = config.num_groups
    grouped = [part.unflatten(-1, (groups, -1, config.head_dim)) for part in parts]
    qkv.copy_(torch.cat(grouped, dim=-2).flatten(1))
