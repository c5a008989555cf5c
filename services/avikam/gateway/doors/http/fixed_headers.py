"""What every reply of the REST door has, refusals too."""

from __future__ import annotations

from typing import Final

FIXED_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
