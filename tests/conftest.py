"""What every area's tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long one example takes says nothing on a busy machine.
settings.register_profile("avikam", deadline=None)
settings.load_profile("avikam")


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own AVIKAM_* environment must not change what tests see."""
    for name in list(os.environ):
        if name.startswith("AVIKAM_"):
            monkeypatch.delenv(name)
