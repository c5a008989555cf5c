"""Many adapters in one engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avikam.engine.interface import SequenceSpec
from avikam.model.checkpoint import CheckpointError, load_checkpoint
from avikam.protocol.errors import ApiError
from avikam.protocol.sampling import SamplingParams
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.model.adapters import factors, write_adapter

PROMPT = [11, 60, 200, 33]


@pytest.fixture
def root(tmp_path: Path, checkpoint: Path) -> Path:
    config = load_checkpoint(checkpoint).config
    for seed in range(4):
        write_adapter(tmp_path / "root" / f"a{seed}", factors(config, seed=seed))
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


def test_two_adapters_and_the_base_in_one_batch_give_what_each_gives_alone(
    build: BuildEngine, root: Path
) -> None:
    engine = build(adapters=root)
    for name in ("a0", "a1"):
        engine.load_adapter(name, name)
    names = ["", "a0", "a1"]
    alone = [ask(engine, PROMPT, adapter=name, max_tokens=20).wait().tokens for name in names]
    assert len({tuple(tokens) for tokens in alone}) == 3, "each must say something else"
    crowd = [ask(engine, PROMPT, adapter=name, max_tokens=20) for name in names * 2]
    assert [answer.wait().tokens for answer in crowd] == alone * 2


def test_reloading_a_name_changes_new_sequences_only(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root)
    first = engine.load_adapter("mine", "a0")
    before = ask(engine, PROMPT, adapter="mine", max_tokens=40, ignore_eos=True)
    second = engine.load_adapter("mine", "a1")
    after = ask(engine, PROMPT, adapter="mine", max_tokens=40, ignore_eos=True)
    assert first.digest != second.digest
    assert before.wait().tokens != after.wait().tokens
    engine.load_adapter("other", "a0")
    again = ask(engine, PROMPT, adapter="other", max_tokens=40, ignore_eos=True).wait()
    assert again.tokens == before.tokens


def test_a_running_sequence_keeps_an_unloaded_adapter(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root)
    engine.load_adapter("a0", "a0")
    whole = ask(engine, PROMPT, adapter="a0", max_tokens=60, ignore_eos=True).wait()
    running = ask(engine, PROMPT, adapter="a0", max_tokens=60, ignore_eos=True)
    engine.unload_adapter("a0")
    assert running.wait().tokens == whole.tokens
    with pytest.raises(ApiError) as refusal:
        ask(engine, PROMPT, adapter="a0")
    assert (refusal.value.status, refusal.value.code) == (404, "model_not_found")
    with pytest.raises(ApiError, match="does not exist"):
        engine.unload_adapter("a0")


def test_the_least_recently_used_idle_adapter_leaves_first(build: BuildEngine, root: Path) -> None:
    size = build(adapters=root).load_adapter("a0", "a0").bytes
    engine = build(adapters=root, adapter_bytes=2 * size)
    engine.load_adapter("a0", "a0")
    engine.load_adapter("a1", "a1")
    ask(engine, PROMPT, adapter="a0", max_tokens=1).wait()
    engine.load_adapter("a2", "a2")
    assert {info.name for info in engine.stats().adapters} == {"a0", "a2"}


def test_an_adapter_beyond_the_budget_is_refused_unread(
    build: BuildEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = build(adapters=root).load_adapter("a0", "a0").bytes
    tiny = build(adapters=root, adapter_bytes=size - 1)
    monkeypatch.setattr("avikam.model.lora_files._check_tensor", lambda *_: 1 / 0)
    with pytest.raises(ApiError, match=f"it needs {size} bytes, the budget is {size - 1}"):
        tiny.load_adapter("a0", "a0")


def test_a_refused_load_takes_nothing_away(
    build: BuildEngine, root: Path, checkpoint: Path
) -> None:
    wide = factors(load_checkpoint(checkpoint).config, rank=12)
    write_adapter(root / "wide", wide, rank=12)
    size = build(adapters=root).load_adapter("a0", "a0").bytes
    engine = build(adapters=root, adapter_bytes=4 * size)
    for name in ("a0", "a1", "a2"):
        engine.load_adapter(name, name)
    lease = engine._adapters.acquire("a0")  # what a running sequence holds
    also = engine._adapters.acquire("a1")
    for name in ("a1", "new"):
        with pytest.raises(ApiError) as refusal:
            engine.load_adapter(name, "wide")
        assert refusal.value.code == "adapters_busy"
    assert {info.name for info in engine.stats().adapters} == {"a0", "a1", "a2"}
    engine._adapters.release(also)
    engine.load_adapter("a1", "wide")
    assert {info.name for info in engine.stats().adapters} == {"a0", "a1"}
    engine._adapters.release(lease)


def test_what_was_unloaded_in_use_takes_memory_to_its_end(build: BuildEngine, root: Path) -> None:
    size = build(adapters=root).load_adapter("a0", "a0").bytes
    engine = build(adapters=root, adapter_bytes=size)
    engine.load_adapter("a0", "a0")
    lease = engine._adapters.acquire("a0")
    engine.unload_adapter("a0")
    with pytest.raises(ApiError, match="in use"):
        engine.load_adapter("a1", "a1")
    engine._adapters.release(lease)
    engine.load_adapter("a1", "a1")


def test_the_models_own_name_is_not_given_away(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root)
    with pytest.raises(ApiError, match="is the model itself") as refusal:
        engine.load_adapter(engine.model.id, "a0")
    assert refusal.value.param == "name"


def test_adapters_in_use_are_never_dropped(build: BuildEngine, root: Path) -> None:
    size = build(adapters=root).load_adapter("a0", "a0").bytes
    engine = build(adapters=root, adapter_bytes=size)
    engine.load_adapter("a0", "a0")
    answers: list[Answer] = []
    refused = 0
    for _ in range(20):
        answers.append(ask(engine, PROMPT, adapter="a0", max_tokens=80, ignore_eos=True))
        try:
            engine.load_adapter("a1", "a1")
        except ApiError as error:
            refused += error.code == "adapters_busy"
            continue
        engine.load_adapter("a0", "a0")
    assert refused > 0
    assert len({tuple(answer.wait().tokens) for answer in answers}) == 1


@pytest.mark.parametrize("path", ["../outside", "/etc", "missing", "a0/adapter_config.json"])
def test_only_folders_inside_the_root_are_read(build: BuildEngine, root: Path, path: str) -> None:
    with pytest.raises(ApiError) as refusal:
        build(adapters=root).load_adapter("x", path)
    assert (refusal.value.status, refusal.value.param) == (400, "path")
    assert str(root) not in refusal.value.message


@pytest.mark.parametrize("name", ["", "../x", "a b", "é" * 3, "x" * 200, ".hidden"])
def test_unsafe_names_are_refused(build: BuildEngine, root: Path, name: str) -> None:
    with pytest.raises(ApiError) as refusal:
        build(adapters=root).load_adapter(name, "a0")
    assert (refusal.value.status, refusal.value.param) == (400, "name")


def test_adapters_are_there_from_the_start(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root, load_adapters=("a0", "poet=a1"))
    assert [info.name for info in engine.stats().adapters] == ["a0", "poet"]
    later = build(adapters=root)
    later.load_adapter("x", "a1")
    expected = ask(later, PROMPT, adapter="x", max_tokens=12).wait()
    assert ask(engine, PROMPT, adapter="poet", max_tokens=12).wait().tokens == expected.tokens


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("missing", "'missing': path names no folder"),
        ("a b=a0", "'a b=a0': adapter name 'a b' must be"),
        ("broken", "'broken': adapter 'broken': adapter_config.json cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_at_the_start_is_named(
    build: BuildEngine, root: Path, wanted: str, complaint: str
) -> None:
    (root / "broken").mkdir()
    with pytest.raises(CheckpointError, match=complaint):
        build(adapters=root, load_adapters=("a0", wanted))


def test_without_a_root_nothing_is_loaded(build: BuildEngine) -> None:
    with pytest.raises(ApiError) as refusal:
        build().load_adapter("a0", "a0")
    assert refusal.value.status == 403


def test_a_refused_submission_gives_its_adapter_back(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root)
    engine.load_adapter("a0", "a0")
    engine.close()
    spec = SequenceSpec("late", tuple(PROMPT), SamplingParams(), adapter="a0")
    with pytest.raises(ApiError):
        engine.submit(spec, lambda _: None)
    lease = engine._adapters.acquire("a0")
    assert lease.users == 1


def test_adapted_rows_do_not_depend_on_the_rows_beside(build: BuildEngine, root: Path) -> None:
    engine = build(adapters=root, slots=16)
    engine.load_adapter("a0", "a0")
    prompts = [torch.randint(10, 200, (n,)).tolist() for n in range(1, 17)]
    alone = [ask(engine, p, adapter="a0", max_tokens=12).wait().tokens for p in prompts]
    crowd = [ask(engine, p, adapter="a0", max_tokens=12) for p in prompts]
    assert [answer.wait().tokens for answer in crowd] == alone
