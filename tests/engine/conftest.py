"""Engines around small random models, and one around the embedded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avikam.engine.build import EngineOptions, build_engine
from avikam.engine.engine import TorchEngine
from tests.model.builders import tiny_checkpoint

BuildEngine = Callable[..., TorchEngine]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def build(checkpoint: Path) -> Iterator[BuildEngine]:
    """Build engines that are closed, and found empty, when the test ends."""
    engines: list[TorchEngine] = []

    def make(**options: object) -> TorchEngine:
        chosen = {"model": checkpoint, "slots": 8, "token_budget": 64, "threads": 1} | options
        engines.append(build_engine(EngineOptions(**chosen)))  # type: ignore[arg-type]
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        stats = engine.stats()
        held = (stats.slots_used, stats.waiting, stats.load_tokens)
        assert held == (0, 0, 0), "the engine still holds something"
