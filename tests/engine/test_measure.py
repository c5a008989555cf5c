"""The benchmark measures what it says; its figures are not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avikam.engine.build import slot_cache
from avikam.engine.device.runner import DeviceRunner
from avikam.engine.measure import EngineFigures, StepBench
from avikam.engine.roofline import Roofline, bytes_per_step, measure_roofline
from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import preset
from avikam.model.loading import load_model
from tests.engine.device.recorder import Recorder
from tests.model.test_device_slots import device_slots


def test_figures_cover_prefill_decode_and_context(checkpoint: Path) -> None:
    stored = load_checkpoint(checkpoint)
    cache = slot_cache(stored.config.with_changes(max_positions=512), 4, "int8", native=False)
    model = load_model(stored, "int8")
    model.rotary = model.rotary.repeat(8, 1, 1)  # positions up to 320 for a toy of 96
    figures = StepBench(model, cache, seconds=0.01).run((1, 4, 16))
    assert list(figures.decode) == ["1", "4"], "16 streams do not fit in 4 slots"
    assert figures.prefill_256 > 0
    assert figures.context_step_ratio > 0
    assert figures.first_token_512_ms is None, "its context is shorter"
    assert figures.parameters == stored.config.parameter_count()


def test_shares_are_of_what_the_device_was_measured_to_do(checkpoint: Path) -> None:
    stored = load_checkpoint(checkpoint)
    config = stored.config
    roofline = measure_roofline("cpu", torch.float32, copied=2**20, width=64)
    assert roofline.bytes_per_second > 0
    assert roofline.operations_per_second > 0
    cache = slot_cache(config, 4, "float32")
    bench = StepBench(load_model(stored, "float32"), cache)
    figures = EngineFigures(
        parameters=config.parameter_count(),
        active_parameters=config.parameter_count(),
        threads=1,
        attention="float",
        prefill_256=50.0,
        decode={"1": 10.0, "4": 20.0},
        context_step_ratio=1.0,
    )
    blocks = config.parameter_count()  # the tied head is the table, and is read
    shares = bench.against(figures, Roofline(1e9, 1e12), "float32").shares
    assert shares == pytest.approx(
        {
            "decode_1": 10 * 4 * blocks / 1e9,
            "decode_4": 5 * 4 * blocks / 1e9,
            "prefill_256": 2 * 50 * blocks / 1e12,
        }
    )


def test_the_big_model_reads_five_gigabytes_a_step_in_int8() -> None:
    assert bytes_per_step(preset("avikam1-7b"), "int8") == pytest.approx(5.09e9, rel=0.01)
    assert bytes_per_step(preset("avikam1-7b"), "bfloat16") == pytest.approx(9.93e9, rel=0.01)


def test_a_gpus_decode_steps_are_measured_as_they_are_served(checkpoint: Path) -> None:
    stored = load_checkpoint(checkpoint)
    cache = device_slots(stored.config.with_changes(max_positions=512), 4)
    model = load_model(stored, "float32")
    model.rotary = model.rotary.repeat(8, 1, 1)
    recorder = Recorder()
    runner = DeviceRunner(model, cache, torch.tensor([], dtype=torch.int64), recorder)
    runner.warm_up()
    figures = StepBench(model, cache, 0.01, runner.decode).run((1, 3))
    assert figures.decode["3"] > 0
    assert "replayed" in recorder.journal
