"""What every source of a model answers, before a single weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

# A configuration of 10 MB is an attack, a vocabulary of 64 MB is not unheard of.
CONFIG_BYTES, TOKENIZER_BYTES = 10 * 2**20, 128 * 2**20


class SourceError(ValueError):
    """A source that cannot be imported; one line says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and stored type of one tensor, as its header says."""

    shape: tuple[int, ...]
    dtype: str


class Tensors(Protocol):
    """The weights of a source by Hugging Face's names; read one at a time."""

    def infos(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str) -> Tensor:
        """The tensor as floats. Raises :class:`SourceError` when its bytes are damaged."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from, for its card and ``/info``."""

    kind: str
    location: str
    revision: str = ""
    licence: str = ""
    quantisation: str = ""


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A tokenizer as ``tokenizer.json`` (bytes) and what ``tokenizer_config.json`` says."""

    data: bytes
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """One model, opened."""

    name: str
    origin: Origin
    config: Mapping[str, Any]
    tensors: Tensors
    tokenizer: TokenizerFiles
    generation: Mapping[str, Any] = field(default_factory=dict)


def read_object(path: Path, most_bytes: int = CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    data = read_bytes(path, most_bytes)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} must hold an object, not {type(value).__name__}")
    return value


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A file whose size is checked before it is read."""
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise SourceError(f"{path.name} has {size} bytes, at most {most_bytes} are read")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read: {error.strerror or error}") from error
