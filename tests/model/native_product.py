"""One matrix product of the native library, and the same in plain numpy."""

from __future__ import annotations

from ctypes import byref

import numpy as np
import torch
from torch import Tensor

from avikam.model.native.crew import Crew
from avikam.model.native.library import Library, Matrix, Model, Work, address
from avikam.model.native.panels import int8_panels, packed_int4, padded_outputs, padded_vector

GROUP = 32  # of four bits


def product(library: Library, matrix: Matrix, x: Tensor) -> Tensor:
    """Rows x [T, K] times a matrix [N, K] in the library's form: [T, N]."""
    rows, inputs = x.shape
    model = Model(hidden=inputs, head=matrix)
    crew = Crew(library)
    room = max(rows, crew.most)
    codes = torch.zeros(room, inputs, dtype=torch.int8)
    scales = torch.zeros(room, 2 * inputs)
    work = Work(
        codes=address(codes), codes_stride=inputs, scales=address(scales), scales_stride=inputs
    )
    out = torch.empty(rows, padded_outputs(matrix.outputs))
    crew.run(library.logits, byref(model), byref(work), address(x), rows, address(out), len(out[0]))
    return out[:, : matrix.outputs]


def int8_product(library: Library, codes: Tensor, scale: Tensor, x: Tensor, group: int) -> Tensor:
    """``codes`` [N, K] int8, ``scale`` [N]; ``group`` inputs of a row share a scale, 0: all."""
    panels, scales = int8_panels(codes), padded_vector(scale)
    matrix = Matrix(address(panels), address(scales), None, codes.shape[1], len(codes), group, 8)
    return product(library, matrix, x)


def int4_product(
    library: Library, codes: Tensor, scale: Tensor, least: Tensor, x: Tensor
) -> Tensor:
    """``codes`` [N, K] 0..15, ``scale`` and ``least`` [N, K / 32] float16."""
    panels = packed_int4(codes, scale, least)
    return product(library, Matrix(address(panels), None, None, x.shape[1], len(codes), 32, 4), x)


def quantised(x: Tensor, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes [T, G, group] and scales [T, G] of rows, as the library rounds them."""
    grouped = x.numpy().reshape(len(x), -1, group or x.shape[1])
    scale = np.abs(grouped).max(-1) * np.float32(1 / 127)
    scale = np.maximum(scale, np.float32(1e-30))
    codes = np.rint(grouped * (np.float32(1) / scale)[..., None])
    return codes.astype(np.int64), scale


def exact_sums(codes: Tensor, row_codes: np.ndarray) -> np.ndarray:
    """Integer sums [T, G, N] of a matrix [N, K] with rows [T, G, K / G]."""
    grouped = codes.numpy().astype(np.int64).reshape(len(codes), *row_codes.shape[1:])
    sums: np.ndarray = np.einsum("ngk,tgk->tgn", grouped, row_codes)
    return sums


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a b + c rounded once to float32: a product of two floats is exact in an extended float."""
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)
