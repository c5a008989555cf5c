"""The benchmark measures what it says; its figures are not judged here."""

from __future__ import annotations

from pathlib import Path

from avikam.engine.build import slot_cache
from avikam.engine.measure import StepBench
from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import load_model


def test_figures_cover_prefill_decode_and_context(checkpoint: Path) -> None:
    stored = load_checkpoint(checkpoint)
    cache = slot_cache(stored.config.with_changes(max_positions=512), 4, "int8", native=False)
    model = load_model(stored, "int8")
    model.rotary = model.rotary.repeat(8, 1, 1)  # positions up to 320 for a toy of 96
    figures = StepBench(model, cache, seconds=0.01).run((1, 4, 16))
    assert list(figures.decode) == ["1", "4"], "16 streams do not fit in 4 slots"
    assert figures.prefill_256 > 0
    assert figures.context_step_ratio > 0
    assert figures.parameters == stored.config.parameter_count()
