"""What the lossy cold tier costs the model that ships: less than half a percent of perplexity."""

from __future__ import annotations

import pytest
import torch

from avikam.engine.build import slot_cache, step_model
from avikam.engine.kv.divergence import measure_divergence
from avikam.engine.kv.measure import KvBench
from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import load_model
from avikam.worker.settings import embedded_model


@pytest.mark.timeout(300)
def test_an_int8_copy_keeps_the_embedded_models_perplexity() -> None:
    """In eight texts of its own, so that one odd place does not decide."""
    stored = load_checkpoint(embedded_model())
    cache, floats = slot_cache(stored.config, 8, "int8"), slot_cache(stored.config, 1, "bfloat16")
    models = (step_model(stored, "int8", "cpu", cache), load_model(stored, "int8"))
    bench = KvBench(models, (cache, floats))
    with torch.inference_mode():
        found = measure_divergence(floats, bench._prefill, bench._own_texts(1024))
    assert found.places == 24
    assert abs(found.perplexity_ratio - 1) < 0.005
    assert found.perplexity_error < 0.002
    assert found.same_choice > 0.95
    assert 0 < found.kl < 0.005
