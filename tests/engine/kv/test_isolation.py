"""Tenants and adapters never share what they computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from avikam.engine.engine import TorchEngine
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.model.checkpoint import load_checkpoint
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import cached, kv, prompt_of
from tests.model.adapters import factors, write_adapter

WARM = KvOptions(chunk=16, break_even=1)
PROMPT = prompt_of(40)


@pytest.fixture
def root(tmp_path: Path, checkpoint: Path) -> Path:
    config = load_checkpoint(checkpoint).config
    for seed in range(3):
        write_adapter(tmp_path / f"a{seed}", factors(config, seed=seed))
    return tmp_path


def run(engine: TorchEngine, *, adapter: str = "", tenant: str = "") -> Answer:
    answer = ask(engine, PROMPT, adapter=adapter, tenant=tenant, max_tokens=12, ignore_eos=True)
    return answer.wait()


def test_adapters_and_the_base_never_meet_each_others_state(build: BuildEngine, root: Path) -> None:
    cold, warm = build(adapters=root, kv=None), build(adapters=root, kv=WARM)
    for engine in (cold, warm):
        for name in ("a0", "a1"):
            engine.load_adapter(name, name)
    for name in ("", "a0", "a1"):
        first, expected = run(warm, adapter=name), run(cold, adapter=name)
        assert cached(first) == 0
        assert first.tokens == expected.tokens
    for name in ("", "a0", "a1"):
        again = run(warm, adapter=name)
        assert cached(again) == 32
        assert again.tokens == run(cold, adapter=name).tokens


def test_another_adapter_under_the_same_name_never_meets_the_old_state(
    build: BuildEngine, root: Path
) -> None:
    cold, warm = build(adapters=root, kv=None), build(adapters=root, kv=WARM)
    for content in ("a0", "a1"):
        for engine in (cold, warm):
            engine.load_adapter("mine", content)
        assert cached(first := run(warm, adapter="mine")) == 0
        assert first.tokens == run(cold, adapter="mine").tokens
    warm.load_adapter("mine", "a0")
    assert cached(run(warm, adapter="mine")) == 32, "the first content is known again"
    warm.load_adapter("copy", "a0")
    assert cached(run(warm, adapter="copy")) == 32, "a name means nothing"


def test_tenants_share_nothing(build: BuildEngine) -> None:
    engine = build(kv=WARM)
    hits = [cached(run(engine, tenant=tenant)) for tenant in ("a", "b", "", "a", "b", "")]
    assert hits == [0, 0, 0, 32, 32, 32]


def test_a_tenants_flood_leaves_the_others_their_share(build: BuildEngine) -> None:
    engine = build(kv=KvOptions(host_bytes=200_000, chunk=16, break_even=1))
    run(engine, tenant="victim")
    for seed in range(40):
        ask(engine, prompt_of(40, seed=seed), max_tokens=1, tenant="flood").wait()
    stats = kv(engine)
    assert stats.host_evictions > 0
    assert stats.host_bytes <= 200_000
    assert cached(run(engine, tenant="victim")) == 32
