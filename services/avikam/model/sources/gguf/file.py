"""A GGUF file, or the parts of a split one, as a source.

Files of the architecture ``llama`` hold the rows of q and k in the order that rotates neighbours;
they are put back into the order that rotates halves. Gemma's norms have their 1 inside, which is
taken out again, for the family adds it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avikam.model.sources.gguf.blocks import dequantise
from avikam.model.sources.gguf.config import config_of
from avikam.model.sources.gguf.header import Header, Place, read_header
from avikam.model.sources.gguf.vocabulary import tokenizer_of
from avikam.model.sources.source import Origin, Source, SourceError, TensorInfo

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_FACTORS = "rope_freqs.weight"
_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = re.compile(r"blk\.(\d{1,4})\.([a-z_]+)\.(weight|bias)")
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_IN_GEMMA = _IN_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def open_gguf(path: Path, name: str = "", origin: Origin | None = None) -> Source:
    """Open a file, or all parts of the split file that ``path`` is a part of."""
    headers = [read_header(part) for part in _parts(path)]
    metadata = headers[0].metadata
    places = _all_places(headers)
    tensors = _Tensors(metadata, places)
    config = config_of(metadata, tied="output.weight" not in places, factors=_factors(places))
    tensors.heads = (config.get("num_attention_heads", 1), config.get("num_key_value_heads", 1))
    where = origin or Origin("file", str(path))
    types = {place.block.name for _, place in places.values() if len(place.shape) == 2}
    stated = metadata.get("general.license", "")
    licence = where.licence or (stated if isinstance(stated, str) else "")
    return Source(
        name=name or _name(path, metadata),
        origin=Origin(
            where.kind, where.location, where.revision, licence, ", ".join(sorted(types))
        ),
        config=config,
        tensors=tensors,
        tokenizer=tokenizer_of(metadata),
    )


def _parts(path: Path) -> list[Path]:
    """All parts, in order; a missing one is named."""
    split = _PART.fullmatch(path.name)
    if split is None:
        return [path]
    count = int(split[3])
    if not 1 <= count <= 1000:
        raise SourceError(f"{path.name} says it is one of {count} parts")
    parts = [path.with_name(f"{split[1]}-{i:05}-of-{split[3]}.gguf") for i in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise SourceError(f"{missing[0]} is missing; the file has {count} parts")
    return parts


def _all_places(headers: list[Header]) -> dict[str, tuple[Header, Place]]:
    places: dict[str, tuple[Header, Place]] = {}
    for header in headers:
        for name, place in header.tensors.items():
            if name in places:
                raise SourceError(f"the tensor {name[:80]!r} is in two parts of the file")
            places[name] = (header, place)
    stated = headers[0].metadata.get("split.tensors.count")
    if stated is not None and stated != len(places):
        raise SourceError(f"the parts hold {len(places)} tensors, the first says {stated}")
    return places


def _name(path: Path, metadata: Mapping[str, Any]) -> str:
    stated = metadata.get("general.name")
    split = _PART.fullmatch(path.name)
    plain = split[1] if split else path.stem
    text = stated if isinstance(stated, str) and stated.strip() else plain
    return re.sub(r"[^\w.-]+", "-", text.strip())[:96].strip("-.") or "model"


def _factors(places: Mapping[str, tuple[Header, Place]]) -> Any:
    return _numbers(*places[_FACTORS]) if _FACTORS in places else None


def _numbers(header: Header, place: Place) -> Tensor:
    raw = np.frombuffer(header.data, np.uint8, place.size, place.offset)
    return torch.from_numpy(np.ascontiguousarray(dequantise(raw, place.block))).view(place.shape)


class _Tensors:
    """The file's tensors by Hugging Face's names."""

    def __init__(
        self, metadata: Mapping[str, Any], places: Mapping[str, tuple[Header, Place]]
    ) -> None:
        self._llama = metadata.get("general.architecture") == "llama"
        self._gemma = metadata.get("general.architecture") == "gemma3"
        self._places = {
            self._their_name(name): entry for name, entry in places.items() if name != _FACTORS
        }
        self.heads = (1, 1)

    def infos(self) -> Mapping[str, TensorInfo]:
        return {
            name: TensorInfo(place.shape, place.block.name)
            for name, (_, place) in self._places.items()
        }

    def read(self, name: str) -> Tensor:
        numbers = _numbers(*self._places[name])
        if self._gemma and name.endswith("norm.weight"):
            return numbers - 1.0
        if self._llama and ".q_proj." in name:
            return _halves(numbers, self.heads[0])
        if self._llama and ".k_proj." in name:
            return _halves(numbers, self.heads[1])
        return numbers

    def _their_name(self, name: str) -> str:
        if name in _WHOLE:
            return _WHOLE[name]
        layer = _LAYER.fullmatch(name)
        known = _IN_GEMMA if self._gemma else _IN_LAYER
        if layer is None or layer[2] not in known:
            raise SourceError(f"the tensor {name[:80]!r} is not known; it may change the model")
        return f"model.layers.{int(layer[1])}.{known[layer[2]]}.{layer[3]}"


def _halves(rows: Tensor, heads: int) -> Tensor:
    """Rows [heads x (pairs x 2)] of neighbours as [heads x (2 x pairs)] of halves."""
    size = rows.shape[0] // heads
    if size * heads != rows.shape[0] or size % 2:
        raise SourceError(f"{rows.shape[0]} rows do not make {heads} heads")
    rest = rows.shape[1:]
    turned = rows.view(heads, size // 2, 2, math.prod(rest)).transpose(1, 2)
    return turned.reshape(rows.shape)
