"""The native step: the same bits for every cut, company, number of threads and processor."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.config import ModelConfig
from avikam.model.loading import from_int8_weights
from avikam.model.native import build
from avikam.model.native.build import NativeUnavailableError
from avikam.model.native.library import Library
from avikam.model.native.model import NativeModel
from avikam.model.native.selftest import native_problem
from avikam.model.native.slots import NativeSlots
from avikam.model.quantize import quantize_state
from avikam.model.reference import reference_logits
from avikam.model.transformer import Avikam1
from tests.model.builders import random_tokens, random_weights, small_config

pytestmark = pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)

SHAPES = {
    "hybrid": small_config(),
    "mixed-gqa": small_config(
        num_heads=8, num_kv_heads=4, num_layers=3, layer_types=("hybrid", "full", "hybrid")
    ),
    "odd-heads": small_config(hidden_size=96, num_groups=1, num_heads=4, vocab_size=130),
    "untied": small_config(tie_embeddings=False, head_size=32),
}
LENGTH = 90


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def config(request: pytest.FixtureRequest) -> ModelConfig:
    shape: ModelConfig = request.param
    return shape


def native(config: ModelConfig, library: Library | None = None) -> tuple[NativeModel, NativeSlots]:
    slots = NativeSlots(config, 4, library)
    return NativeModel(config, random_weights(config), slots), slots


def run(
    model: NativeModel | Avikam1, slots: SlotState, tokens: list[int], sizes: list[int]
) -> Tensor:
    """Logits of all tokens, fed in pieces to slot 1."""
    logits, start = [], 0
    for size in sizes:
        piece = torch.tensor(tokens[start : start + size])
        chunk = Chunk(1, start, size)
        plan = StepPlan((1,), (start,)) if size == 1 else StepPlan((), (), (chunk,))
        slots.begin(plan)
        logits.append(model.logits(model(piece, plan.positions(), slots.attend)))
        start += size
    return torch.cat(logits)


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


def test_logits_stay_near_the_reference() -> None:
    config = small_config()
    weights, tokens = random_weights(config, spread=2.0), random_tokens(config, 60)
    slots = NativeSlots(config, 2)
    ours = run(NativeModel(config, weights, slots), slots, tokens, [60])
    oracle = reference_logits(weights, config, tokens)
    assert (ours - oracle).norm() / oracle.norm() < 0.03


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


def test_every_kind_of_processor_computes_the_same_bits(tmp_path: Path) -> None:
    """What AVX2 computes is what AVX-512 computes: a request may move between machines."""
    best = build._level()
    levels = [level for _, level in build._LEVELS]
    config = small_config()
    results: list[Tensor] = []
    tokens = random_tokens(config, LENGTH)
    for level in levels[levels.index(best) :]:
        target = tmp_path / f"{len(results)}.so"
        build._compile(level, target)
        results.append(run(*native(config, Library(str(target))), tokens, [40, 50]))
    assert all(torch.equal(a, b) for a, b in itertools.pairwise(results))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(NativeUnavailableError, match="no C compiler"):
        build.library_file()
    monkeypatch.setattr(build, "_processor_flags", lambda: {"sse2"})
    with pytest.raises(NativeUnavailableError, match="AVX2"):
        build.library_file()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(NativeUnavailableError, match="riscv64"):
        build.library_file()


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(NativeUnavailableError, match="no such option"):
        build.library_file()


def test_a_cache_that_others_can_write_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "avikam").mkdir()
    (tmp_path / "avikam").chmod(0o777)
    assert tmp_path not in build._cache().parents


def test_a_shape_that_is_not_written_is_refused() -> None:
    config = small_config(feed_forward="swiglu")
    with pytest.raises(NativeUnavailableError, match="swiglu"):
        NativeModel(config, random_weights(config), NativeSlots(config, 1))
