"""The shared library's functions and structures, as ``step.c`` declares them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from typing import Any

from torch import Tensor

from avikam.model.native.build import NativeUnavailableError, library_file

LANES, PANEL = 16, 64  # lanes.h, product.h
EMBED, QKV, MIX, FEED, FINAL = 1, 2, 4, 8, 16  # step.c
WHOLE = EMBED | QKV | MIX | FEED | FINAL


class Matrix(Structure):
    """An int8 matrix in panels."""

    _fields_ = (
        ("panels", c_void_p),
        ("scale", c_void_p),
        ("inputs", c_int64),
        ("outputs", c_int64),
    )


class Storage(Structure):
    """All slots of one layer."""

    _fields_ = (
        ("keys", c_void_p),
        ("key_scale", c_void_p),
        ("values", c_void_p),
        ("value_scale", c_void_p),
        ("length", c_int64),
    )


class Layer(Structure):
    _fields_ = (
        ("attention_norm", c_void_p),
        ("ffn_norm", c_void_p),
        ("qkv", Matrix),
        ("o", Matrix),
        ("up", Matrix),
        ("down", Matrix),
        ("slots", Storage),
        ("hybrid", c_int64),
    )


class Model(Structure):
    _fields_ = (
        ("hidden", c_int64),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("groups", c_int64),
        ("head_dim", c_int64),
        ("window", c_int64),
        ("stride", c_int64),
        ("eps", c_double),
        ("rotary", c_void_p),
        ("embed", c_void_p),
        ("embed_scale", c_void_p),
        ("final_norm", c_void_p),
        ("layers", POINTER(Layer)),
        ("head", Matrix),
    )


class Work(Structure):
    """Buffers for the rows of a step."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "normed", "qkv", "mixed", "out", "up")),
        ("codes", c_void_p),
        ("scales", c_void_p),
        ("hidden_stride", c_int64),
        ("qkv_stride", c_int64),
        ("mixed_stride", c_int64),
        ("up_stride", c_int64),
        ("codes_stride", c_int64),
    )


class Rows(Structure):
    """The rows of a step: what ``Batch`` is in ``step.c``."""

    _fields_ = (
        ("rows", c_int64),
        ("tokens", c_void_p),
        ("positions", c_void_p),
        ("slots", c_void_p),
    )


class Library:
    """The three functions; all release the interpreter while they run."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        self.step: Callable[..., Any] = library.avikam_step
        self.attend: Callable[..., Any] = library.avikam_attend
        self.logits: Callable[..., Any] = library.avikam_logits
        library.avikam_step.argtypes = (
            POINTER(Model), POINTER(Work), POINTER(Rows), c_int, c_int, c_int, c_int,
        )  # fmt: skip
        library.avikam_attend.argtypes = (
            POINTER(Model), POINTER(Work), POINTER(Rows), c_int, c_int,
        )  # fmt: skip
        library.avikam_logits.argtypes = (
            POINTER(Model), POINTER(Work), c_void_p, c_int64, c_void_p, c_int64, c_int,
        )  # fmt: skip
        for function in (self.step, self.attend, self.logits):
            function.restype = None


@functools.cache
def load_library() -> Library:
    """The library, built if need be; raises :class:`NativeUnavailableError` with the reason."""
    try:
        return Library(str(library_file()))
    except OSError as error:
        raise NativeUnavailableError(f"the library cannot be loaded: {error}") from error


def address(tensor: Tensor) -> int:
    """Where a contiguous tensor lies; whoever passes it on keeps the tensor alive."""
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not contiguous")
    return tensor.data_ptr()
