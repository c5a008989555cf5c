"""Buckets, filling rows, and what no graph can hold."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from avikam.engine.device.graphs import DecodeGraphs, buckets
from avikam.engine.device.rows import StepRows
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.loading import from_float_weights
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine
from tests.engine.device.conftest import Place
from tests.engine.device.recorder import Recorder
from tests.engine.test_engine import prompt_of
from tests.model.builders import random_weights, small_config, tiny_checkpoint
from tests.model.test_device_slots import device_slots, feed


def test_a_batch_at_most_doubles() -> None:
    assert buckets(32) == (1, 2, 4, 8, 16, 32)
    assert buckets(24) == (1, 2, 4, 8, 16, 24)
    assert buckets(1) == (1,)


def graphs_over(cache: DeviceSlots) -> tuple[DecodeGraphs, StepRows, Recorder]:
    model = from_float_weights(cache.config, random_weights(cache.config))
    for slot in range(cache.slots):
        feed(model, cache, slot, prompt_of(20, seed=slot))
    recorder = Recorder()
    rows = StepRows(recorder, cache.slots, "cpu", cache.nobody)
    pool = torch.tensor([*range(40, 40 + cache.slots), 0])
    graphs = DecodeGraphs(model, cache, rows, pool, recorder)
    graphs.capture()
    return graphs, rows, recorder


def test_rows_that_fill_a_bucket_touch_nobodys_slot() -> None:
    cache = device_slots(small_config(), 6)
    graphs, rows, recorder = graphs_over(cache)
    assert recorder.journal.count("captured") == 4
    others = [cache.snapshot(slot, 20) for slot in (0, 3, 5)]
    bucket = graphs.bucket(3)
    assert bucket == 4
    rows.send([(7, 1, 20), (8, 2, 20), (-1, 4, 20)], (), [None] * 3, bucket)
    with torch.inference_mode():
        logits = graphs.replay(bucket)[:3].clone()
    for slot, saved in zip((0, 3, 5), others, strict=True):
        for old, new in zip(saved.layers, cache.snapshot(slot, 20).layers, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
    again = device_slots(small_config(), 6)
    graphs, rows, _ = graphs_over(again)
    rows.send([(44, 4, 20)], (), [None], 1)
    with torch.inference_mode():
        alone = graphs.replay(1)
    assert torch.allclose(logits[2], alone[0], atol=1e-5), "the pool holds 44 for slot 4"


def test_batches_beyond_all_buckets_are_launched_call_by_call() -> None:
    graphs, _, _ = graphs_over(device_slots(small_config(), 2))
    assert graphs.bucket(3) is None
    assert graphs.bucket(0) is None


def test_a_model_that_no_graph_can_hold_runs_without(
    build: BuildEngine, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixture = tiny_checkpoint(tmp_path / "moe", num_experts=4, active_experts=2)
    answers = []
    for recorder in (None, Recorder()):
        place(recorder)
        with caplog.at_level(logging.WARNING):
            engine = build(model=mixture, weights="float32", kv=None)
        answers.append([ask(engine, prompt_of(9), max_tokens=8).wait().tokens for _ in range(2)])
    assert "decode steps run without graphs" in caplog.text
    assert answers[0] == answers[1]
    assert recorder is not None
    assert "replayed" not in recorder.journal
    assert "asked" in recorder.journal


def test_pinned_memory_waits_for_its_last_copy() -> None:
    recorder = Recorder()
    rows = StepRows(recorder, 4, "cpu", 4)
    for token in range(3):
        assert "waited" not in recorder.journal
        rows.send([(token, 0, 0)], (), [None], 1)
    assert recorder.journal == ["waited"], "the third fills what the first has left"


def test_the_recorder_notices_memory_that_is_rewritten_too_early() -> None:
    recorder = Recorder()
    memory = recorder.pinned(1, 4, torch.int64)
    recorder.copy(memory, torch.zeros(1, 4, dtype=torch.int64))
    memory.fill_(7)
    with pytest.raises(RuntimeError, match="rewritten"):
        recorder.fence().synchronize()
