"""The benchmark measures what it says; its figures are not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from avikam.engine.build import slot_cache, step_model
from avikam.engine.kv.measure import KvBench
from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import load_model
from tests.engine.kv.redis_server import RedisServer


@pytest.fixture
def bench(long_checkpoint: Path) -> KvBench:
    stored = load_checkpoint(long_checkpoint)
    cache, floats = slot_cache(stored.config, 2, "int8"), slot_cache(stored.config, 1, "bfloat16")
    models = (step_model(stored, "int8", "cpu", cache), load_model(stored, "int8"))
    return KvBench(models, (cache, floats))


def test_figures_cover_every_form_and_both_tiers(bench: KvBench, redis_server: RedisServer) -> None:
    redis = RedisTier(RedisOptions(redis_server.url, timeout=2.0))
    figures = bench.run(256, redis)
    redis.close()
    sizes = {form.form: form.bytes for form in figures.forms}
    assert sizes["Snappy alone"] <= sizes["raw"] * 1.2
    assert sizes["int8"] < sizes["raw"] * 0.6
    assert all(form.encode_mib_s > 0 and form.decode_mib_s > 0 for form in figures.forms)
    assert figures.int8.places == 6, "three in each of two texts"
    assert 0.5 < figures.int8.perplexity_ratio < 2
    assert 0 < figures.int8.perplexity_error < 0.5
    assert 0.5 < figures.int8.same_choice <= 1
    assert figures.int8.kl > 0
    assert figures.host_restore_ms > 0
    assert figures.redis_restore_ms is not None
    assert not redis_server.blocks(), "a benchmark cleans up"


def test_a_context_too_short_to_measure_is_refused(bench: KvBench) -> None:
    with pytest.raises(ValueError, match="tokens is 100"):
        bench.run(100)
