"""A worker's settings and series of prefix reuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from avikam.engine.interface import SequenceSpec
from avikam.protocol.sampling import SamplingParams
from avikam.worker.engines import build_engine
from avikam.worker.metrics import WorkerMetrics
from avikam.worker.settings import WorkerSettings
from tests.cli.processes import wait_until
from tests.engine.client import Answer
from tests.model.builders import tiny_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def settings_of(model: Path, **changes: object) -> WorkerSettings:
    values = {"model": model, "slots": 4, "token_budget": 64, "threads": 1} | changes
    return WorkerSettings.model_validate(values)


def test_reuse_shows_in_the_series(model: Path) -> None:
    engine = build_engine(settings_of(model, kv_break_even=8))
    metrics = WorkerMetrics()
    metrics.watch_engine(engine.model, engine.stats)
    prompt = tuple(range(20, 50))
    told: tuple[int, ...] = ()
    for turn in range(2):
        answer = Answer(f"turn-{turn}")
        params = SamplingParams(max_tokens=4, ignore_eos=True)
        engine.submit(SequenceSpec(answer.request_id, prompt + told, params), answer)
        told = tuple(answer.wait().tokens)
    # The last turn is saved after its caller was told.
    wait_until(lambda: "host_entries 2.0" in generate_latest(metrics.registry).decode())
    text = generate_latest(metrics.registry).decode()
    engine.close()
    assert 'avikam_worker_kv_hits_total{tier="device"} 1.0' in text
    assert "avikam_worker_kv_spared_tokens_total 33.0" in text
    assert "avikam_worker_kv_host_entries 2.0" in text


def test_no_memory_means_no_reuse_and_no_series(model: Path) -> None:
    engine = build_engine(settings_of(model, kv_host_bytes=0))
    metrics = WorkerMetrics()
    metrics.watch_engine(engine.model, engine.stats)
    text = generate_latest(metrics.registry).decode()
    engine.close()
    assert "avikam_worker_kv_" not in text


def test_a_url_that_is_none_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="Redis URL"):
        build_engine(settings_of(model, kv_redis="somewhere"))


def test_secrets_do_not_show(model: Path) -> None:
    settings = settings_of(model, kv_redis="redis://:sesame@host", kv_secret="sesame")
    assert "sesame" not in repr(settings) + settings.model_dump_json()
