"""Kernels run in Triton's interpreter here; it must be chosen before they are imported."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"
