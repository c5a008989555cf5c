"""Engines whose slots are a GPU's, on a CPU, with the recorder in the GPU's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avikam.engine.build import EngineOptions
from avikam.engine.device.runner import DeviceRunner
from avikam.engine.runner import ModelRunner
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.checkpoint import Checkpoint
from avikam.model.loading import load_model
from avikam.model.lora import Adapter, AppliedAdapter
from tests.engine.device.recorder import Recorder
from tests.model.test_device_slots import PLAIN

Place = Callable[[Recorder | None], None]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Have engines built from now on run ahead of a recorder; of none: step by step."""

    def choose(recorder: Recorder | None) -> None:
        def runner(
            options: EngineOptions, checkpoint: Checkpoint, kind: Any, device: str, never: Tensor
        ) -> tuple[ModelRunner, Any]:
            model = load_model(checkpoint, kind, device)
            cache = DeviceSlots(checkpoint.config, options.slots, "cpu", torch.float32, PLAIN)

            def apply(adapter: Adapter, _folder: Path) -> AppliedAdapter:
                return AppliedAdapter(adapter, exact=False)

            if recorder is None:
                return ModelRunner(model, cache, never), apply
            return DeviceRunner(model, cache, never, recorder), apply

        monkeypatch.setattr("avikam.engine.build._runner", runner)

    return choose
