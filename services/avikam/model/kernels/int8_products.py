"""Products of float rows with int8 weights: y[m, n] = sum_k x[m, k] * codes[n, k] * scale[n].

rows      kernel                    why
1         W8A16, reduction          reads each weight once, as fast as memory gives it
2..64     W8A16, matrix units       still bound by memory; activations keep their 16 bits
more      W8A8, integer units       bound by arithmetic: rows are quantised too (per row)
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_ROWS_W8A16 = 64

_SMALLEST = 1e-30  # scale of a row of zeros


@triton.jit
def _vector_kernel(x, codes, scale, out, N, K, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    real = rows < N
    sums = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for start in range(0, K, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        mine = tl.load(x + columns, mask=columns < K, other=0.0).to(tl.float32)
        there = real[:, None] & (columns < K)[None, :]
        at = rows.to(tl.int64)[:, None] * K + columns[None, :]
        sums += tl.load(codes + at, mask=there, other=0).to(tl.float32) * mine[None, :]
    result = tl.sum(sums, axis=1) * tl.load(scale + rows, mask=real, other=0.0)
    tl.store(out + rows, result.to(out.dtype.element_ty), mask=real)


@triton.jit
def _mixed_kernel(
    x, codes, scale, out, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        x_there = (m < M)[:, None] & (k < K)[None, :]
        left = tl.load(x + m[:, None] * K + k[None, :], mask=x_there, other=0.0)
        w_there = (k < K)[:, None] & (n < N)[None, :]
        right = tl.load(codes + n.to(tl.int64)[None, :] * K + k[:, None], mask=w_there, other=0)
        sums += tl.dot(left, right.to(left.dtype))
    result = sums * tl.load(scale + n, mask=n < N, other=0.0)[None, :]
    there = (m < M)[:, None] & (n < N)[None, :]
    tl.store(out + m[:, None] * N + n[None, :], result.to(out.dtype.element_ty), mask=there)


@triton.jit
def _quantize_kernel(x, codes, scales, K, BLOCK: tl.constexpr, SMALLEST: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    values = tl.load(x + row * K + columns, mask=columns < K, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values), axis=0) / 127.0, SMALLEST)
    steps = values / scale
    nearest = tl.floor(tl.abs(steps) + 0.5)
    signed = tl.where(steps < 0, -nearest, nearest)
    tl.store(codes + row * K + columns, signed.to(tl.int8), mask=columns < K)
    tl.store(scales + row, scale)


@triton.jit
def _integer_kernel(
    x, x_scale, codes, scale, out, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        x_there = (m < M)[:, None] & (k < K)[None, :]
        left = tl.load(x + m.to(tl.int64)[:, None] * K + k[None, :], mask=x_there, other=0)
        w_there = (k < K)[:, None] & (n < N)[None, :]
        right = tl.load(codes + n.to(tl.int64)[None, :] * K + k[:, None], mask=w_there, other=0)
        sums += tl.dot(left, right, out_dtype=tl.int32)
    row_scale = tl.load(x_scale + m, mask=m < M, other=0.0)
    result = sums.to(tl.float32) * row_scale[:, None]
    result = result * tl.load(scale + n, mask=n < N, other=0.0)[None, :]
    there = (m < M)[:, None] & (n < N)[None, :]
    at = m.to(tl.int64)[:, None] * N + n[None, :]
    tl.store(out + at, result.to(out.dtype.element_ty), mask=there)


def w8a16(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """x [M, K] floats, codes [N, K] int8, scale [N] float32: [M, N] in x's type."""
    x = x.contiguous()
    (rows, inner), outputs = x.shape, len(codes)
    out = x.new_empty(rows, outputs)
    if rows == 1:
        blocks = {"BLOCK_N": 16, "BLOCK_K": 256}
        programs = triton.cdiv(outputs, blocks["BLOCK_N"])
        _vector_kernel[(programs,)](x, codes, scale, out, outputs, inner, **blocks)
        return out
    blocks = {"BLOCK_M": 16 if rows <= 16 else 32, "BLOCK_N": 64, "BLOCK_K": 128}
    grid = (triton.cdiv(outputs, blocks["BLOCK_N"]), triton.cdiv(rows, blocks["BLOCK_M"]))
    _mixed_kernel[grid](x, codes, scale, out, rows, outputs, inner, **blocks)
    return out


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [M, K] as int8 codes [M, K] and float32 scales [M], each row by its largest value."""
    x = x.contiguous()
    codes = torch.empty_like(x, dtype=torch.int8)
    scales = torch.empty(len(x), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(x.shape[1])
    _quantize_kernel[(len(x),)](x, codes, scales, x.shape[1], BLOCK=block, SMALLEST=_SMALLEST)
    return codes, scales


def w8a8(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """The same product with x quantised row by row; its sums are integers."""
    x_codes, x_scale = quantize(x)
    (rows, inner), outputs = x.shape, len(codes)
    out = x.new_empty(rows, outputs)
    blocks = {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 64}
    grid = (triton.cdiv(outputs, blocks["BLOCK_N"]), triton.cdiv(rows, blocks["BLOCK_M"]))
    _integer_kernel[grid](x_codes, x_scale, codes, scale, out, rows, outputs, inner, **blocks)
    return out
