"""Which attention a GPU gets: the first of each kind that is there and passes its self-test.

decode     flash-attn package -> Triton kernel -> plain
prompts    flash-attn package -> FlashAttention inside PyTorch -> plain
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from avikam.model.attention.decode import (
    DecodeAttention,
    flash_decode,
    plain_decode,
    triton_decode,
)
from avikam.model.attention.device_slots import Backend
from avikam.model.attention.varlen import (
    Segments,
    VarlenAttention,
    flash_varlen,
    plain_varlen,
    torch_varlen,
)

log = logging.getLogger(__name__)

_Call = TypeVar("_Call")
_TOLERANCE = 0.02  # bfloat16 against the same call in float32

DECODE: tuple[tuple[str, Callable[[], DecodeAttention]], ...] = (
    ("flash", flash_decode),
    ("triton", triton_decode),
)
VARLEN: tuple[tuple[str, Callable[[], VarlenAttention]], ...] = (
    ("flash", flash_varlen),
    ("torch-flash", torch_varlen),
)


def choose_backend(
    device: str, dtype: torch.dtype, heads: tuple[int, int], head_dim: int
) -> Backend:
    """The fastest that is right for (query heads, key heads) of ``head_dim``, and its name."""

    def decode_problem(call: DecodeAttention) -> str:
        q, k, v = _random(heads, head_dim, queries=3, keys=4 * 320, device=device, dtype=dtype)
        keys, values = (t.unflatten(0, (4, 320)).transpose(1, 2).contiguous() for t in (k, v))
        slots, valid = (torch.tensor(n, device=device) for n in ([2, 0, 3], [1, 284, 257]))
        ours = call(q, keys, values, slots, valid)
        oracle = plain_decode(q.float(), keys.float(), values.float(), slots, valid)
        return _difference(ours, oracle)

    def varlen_problem(call: VarlenAttention) -> str:
        q, k, v = _random(heads, head_dim, queries=100, keys=400, device=device, dtype=dtype)
        segments = Segments.of([70, 30], [325, 75], device)
        for span in (256, None):
            out, lse = call(q, k, v, segments, span)
            oracle = plain_varlen(q.float(), k.float(), v.float(), segments, span)
            problem = _difference(out, oracle[0]) or _difference(lse, oracle[1])
            if problem:
                return problem
        return ""

    last_decode: DecodeAttention = plain_decode
    last_varlen: VarlenAttention = plain_varlen
    decode_name, decode = _first("decode", DECODE, decode_problem, last_decode)
    varlen_name, varlen = _first("prefill", VARLEN, varlen_problem, last_varlen)
    return Backend(f"{device}: decode {decode_name}, prefill {varlen_name}", decode, varlen)


def _first(
    task: str,
    candidates: tuple[tuple[str, Callable[[], _Call]], ...],
    problem_of: Callable[[_Call], str],
    plain: _Call,
) -> tuple[str, _Call]:
    for name, make in candidates:
        try:
            call = make()
            problem = problem_of(call)
        except Exception as error:  # a missing package, compiler or kernel: no one type
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        if not problem:
            return name, call
        log.info("%s attention is not %s's: %s", task, name, problem)
    return "plain", plain


def _random(
    heads: tuple[int, int], size: int, *, queries: int, keys: int, device: str, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((queries, heads[0], size), (keys, heads[1], size), (keys, heads[1], size))
    q, k, v = (torch.randn(s, generator=generator).to(device, dtype) for s in shapes)
    return q, k, v


def _difference(ours: torch.Tensor, oracle: torch.Tensor) -> str:
    worst = float((ours.float() - oracle).norm() / oracle.norm())
    return "" if worst < _TOLERANCE else f"it is off by {worst:.1%}"
