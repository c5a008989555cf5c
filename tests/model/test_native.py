"""The native step: the same bits for every cut, company, number of threads and processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.plan import StepPlan
from avikam.model.backends import Backend
from avikam.model.config import ModelConfig
from avikam.model.loading import from_int8_weights
from avikam.model.native import build
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.model import NativeModel
from avikam.model.native.selftest import native_problem
from avikam.model.native.slots import NativeSlots
from avikam.model.quantize import quantize_state
from avikam.model.reference import reference_logits
from tests.model.builders import random_tokens, random_weights, small_config
from tests.model.native_runs import LENGTH, SHAPES, native, run

pytestmark = pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def config(request: pytest.FixtureRequest) -> ModelConfig:
    shape: ModelConfig = request.param
    return shape


@pytest.mark.parametrize("sizes", [[90], [8] * 11 + [2], [3, 1, 61, 1, 1, 23], [50, 40]])
def test_logits_are_the_same_bits_for_every_cut(config: ModelConfig, sizes: list[int]) -> None:
    tokens = random_tokens(config, LENGTH)
    one_by_one = run(*native(config), tokens, [1] * LENGTH)
    assert torch.equal(run(*native(config), tokens, sizes), one_by_one)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(config: ModelConfig, threads: int) -> None:
    tokens, before = random_tokens(config, LENGTH), torch.get_num_threads()
    expected = run(*native(config), tokens, [LENGTH])
    torch.set_num_threads(threads)
    try:
        assert torch.equal(run(*native(config), tokens, [LENGTH]), expected)
    finally:
        torch.set_num_threads(before)


def test_rows_do_not_depend_on_the_rows_beside(config: ModelConfig) -> None:
    model, slots = native(config)
    texts = [random_tokens(config, 30, seed) for seed in range(4)]
    alone = [run(*native(config), text, [1] * 30) for text in texts]
    together = []
    for position, column in enumerate(zip(*texts, strict=True)):
        plan = StepPlan((0, 1, 2, 3), (position,) * 4)
        slots.begin(plan)
        together.append(model.logits(model(torch.tensor(column), plan.positions(), slots.attend)))
    assert torch.equal(torch.stack(together, dim=1), torch.stack(alone))


def test_logits_are_those_of_the_exact_slots_but_for_rounding(config: ModelConfig) -> None:
    tokens, weights = random_tokens(config, LENGTH), random_weights(config)
    ours = run(*native(config), tokens, [LENGTH])
    torchs = run(from_int8_weights(config, weights), Int8Slots(config, 2), tokens, [1] * LENGTH)
    assert (ours - torchs).norm() / torchs.norm() < 0.03


def test_logits_stay_near_the_reference(config: ModelConfig) -> None:
    """Whatever a family adds (biases, norms, tables, gates) is there: leaving it out shows."""
    weights, tokens = random_weights(config, spread=2.0), random_tokens(config, 60)
    slots = NativeSlots(config, 2)
    ours = run(NativeModel(config, weights, slots), slots, tokens, [60])
    oracle = reference_logits(weights, config, tokens)
    assert (ours - oracle).norm() / oracle.norm() < 0.05


def test_a_pytorch_model_attends_through_native_slots_in_every_cut(config: ModelConfig) -> None:
    model, tokens = from_int8_weights(config, random_weights(config)), random_tokens(config, LENGTH)
    whole = run(model, NativeSlots(config, 2), tokens, [LENGTH])
    assert torch.equal(run(model, NativeSlots(config, 2), tokens, [1] * LENGTH), whole)


def test_a_row_that_is_not_a_number_fails_alone() -> None:
    config = small_config(tie_embeddings=False)
    state = quantize_state(random_weights(config))
    state["embed.weight_scale"][7] = torch.nan
    text = [t for t in random_tokens(config, 40) if t != 7][:20]
    slots = NativeSlots(config, 2)
    model = NativeModel(config, state, slots)
    healthy = run(model, slots, text, [20])
    slots.begin(StepPlan((0, 1), (0, 0)))
    rows = model.logits(model(torch.tensor([7, text[0]]), torch.tensor([0, 0]), slots.attend))
    assert torch.isnan(rows[0]).all()
    assert torch.equal(rows[1], healthy[0])
    run(model, slots, [7, 8, 9], [3])
    assert torch.equal(run(model, slots, text, [20]), healthy), "a used slot remembers nothing"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(NativeUnavailableError, match="no C compiler"):
        build.library_file(build.choose_level())
    monkeypatch.setattr(build, "_processor_flags", lambda: {"sse2"})
    with pytest.raises(NativeUnavailableError, match="AVX2"):
        build.library_file(build.choose_level())
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(NativeUnavailableError, match="riscv64"):
        build.library_file(build.choose_level())


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(NativeUnavailableError, match="no such option"):
        build.library_file(build.choose_level())


def test_a_cache_that_others_can_write_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "avikam").mkdir()
    (tmp_path / "avikam").chmod(0o777)
    assert tmp_path not in build._cache().parents


def test_a_shape_that_is_not_written_is_refused() -> None:
    config = small_config(num_experts=4)
    with pytest.raises(NativeUnavailableError, match="4 experts"):
        NativeModel(config, random_weights(config), NativeSlots(config, 1))


def test_a_context_whose_sums_would_overflow_is_refused_before_memory_is_taken() -> None:
    config = small_config(layer_types=("full", "hybrid"), max_positions=65_600)
    with pytest.raises(NativeUnavailableError, match=r"65600 entries .* 65535"):
        NativeSlots(config, 1_000_000)
    assert isinstance(Backend("int8").slots(config, 1), Int8Slots), "PyTorch's sums are wide enough"
