"""The shared library's functions and structures, as ``model.h`` and ``step.c`` declare them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from typing import Any

from torch import Tensor

from avikam.model.native.build import (
    Level,
    NativeUnavailableError,
    choose_level,
    library_file,
    processor_levels,
)

LANES, PANEL = 16, 32  # lanes.h, matrix.h
QUERIES = 6  # attention.h: the most that pass together
EMBED, QKV, MIX, FEED, FINAL = 1, 2, 4, 8, 16  # step.c
WHOLE = EMBED | QKV | MIX | FEED | FINAL
KINDS = ("full", "hybrid", "window")  # model.h, in its order
FEED_FORWARDS = ("gelu", "swiglu", "geglu")


class Matrix(Structure):
    """A matrix in panels, of 8 or 4 bits."""

    _fields_ = (
        ("panels", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        *((name, c_int64) for name in ("inputs", "outputs", "group", "bits")),
    )


class Storage(Structure):
    """All slots of one layer."""

    _fields_ = (
        *((name, c_void_p) for name in ("keys", "key_scale", "values", "value_scale")),
        ("length", c_int64),
    )


class Layer(Structure):
    """One layer's weights and slots; what is left out is NULL."""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("attention_post_norm", c_void_p),
        ("ffn_norm", c_void_p),
        ("ffn_post_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("rotary", c_void_p),
        *((name, Matrix) for name in ("qkv", "o", "up", "down")),
        ("slots", Storage),
        ("kind", c_int64),
    )


class Model(Structure):
    """A model's numbers and what is not a layer's."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "count", "hidden", "heads", "kv_heads", "groups", "head_dim", "window", "stride",
                "feed_forward",
            )
        ),
        ("eps", c_double),
        ("embed_factor", c_double),
        ("embed", c_void_p),
        ("embed_scale", c_void_p),
        ("final_norm", c_void_p),
        ("layers", POINTER(Layer)),
        ("head", Matrix),
    )  # fmt: skip


class Work(Structure):
    """Buffers for the rows of a step."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "normed", "qkv", "mixed", "out", "up", "gated")),
        *((name, c_void_p) for name in ("codes", "scales", "scratch")),
        *(
            (f"{name}_stride", c_int64)
            for name in (
                "hidden", "qkv", "mixed", "up", "gated", "codes", "scales", "scratch",
            )
        ),
    )  # fmt: skip


class Rows(Structure):
    """The rows of a step: what ``Batch`` is in ``model.h``."""

    _fields_ = (
        ("rows", c_int64),
        *((name, c_void_p) for name in ("tokens", "positions", "slots", "runs", "blocks")),
        ("run_count", c_int64),
        ("block_count", c_int64),
    )


class Effort(Structure):
    """How long a call took: on the clock, and of all members' processor time."""

    _fields_ = (("members", c_int64), ("wall_ns", c_int64), ("processor_ns", c_int64))


class Library:
    """The library's functions; the steps release the interpreter while they run."""

    def __init__(self, path: str, level: str) -> None:
        library = ctypes.CDLL(path)
        self.level = level
        self.open_team: Callable[..., Any] = library.avikam_team_open
        self.close_team: Callable[..., Any] = library.avikam_team_close
        self.step: Callable[..., Any] = library.avikam_step
        self.attend: Callable[..., Any] = library.avikam_attend
        self.logits: Callable[..., Any] = library.avikam_logits
        library.avikam_team_open.argtypes = (c_int,)
        library.avikam_team_open.restype = c_void_p
        library.avikam_team_close.argtypes = (c_void_p,)
        library.avikam_team_close.restype = None
        common = (c_void_p, POINTER(Model), POINTER(Work))
        library.avikam_step.argtypes = (*common, POINTER(Rows), c_int, c_int, c_int, c_int)
        library.avikam_attend.argtypes = (*common, POINTER(Rows), c_int, c_int)
        library.avikam_logits.argtypes = (
            *common, c_void_p, c_int64, c_void_p, c_int64, c_int,
        )  # fmt: skip
        for function in (self.step, self.attend, self.logits):
            function.restype = Effort


def load_library(level: str = "") -> Library:
    """The library of a level (empty: the best that this machine can build), built if need be.

    Raises :class:`NativeUnavailableError` with the reason.
    """
    if level:
        return _load(choose_level(level))
    best, *others = processor_levels()
    try:
        return _load(best)
    except NativeUnavailableError:
        for other in others:  # an old compiler may not know the newest instructions
            with contextlib.suppress(NativeUnavailableError):
                return _load(other)
        raise


@functools.cache
def _load(level: Level) -> Library:
    try:
        return Library(str(library_file(level)), level.name)
    except OSError as error:
        raise NativeUnavailableError(f"the library cannot be loaded: {error}") from error


def address(tensor: Tensor) -> int:
    """Where a contiguous tensor lies; whoever passes it on keeps the tensor alive."""
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not contiguous")
    return tensor.data_ptr()
