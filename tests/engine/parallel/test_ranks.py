"""Engines whose model lies on several processes: the same tokens as one, and one fate."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from avikam.engine.build import EngineOptions, build_engine
from avikam.engine.engine import TorchEngine
from avikam.engine.interface import FinishReason
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.model.checkpoint import load_checkpoint
from avikam.model.config import ConfigError
from tests.engine.client import Answer, ask
from tests.model.adapters import factors, write_adapter
from tests.model.builders import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    config = load_checkpoint(folder).config
    for seed in range(2):
        write_adapter(root / f"a{seed}", factors(config, seed=seed))
    return root


def engine_of(folder: Path, ranks: int, root: Path | None = None) -> TorchEngine:
    kv = KvOptions(chunk=32, break_even=32)
    options = EngineOptions(
        folder, ranks=ranks, slots=4, token_budget=64, threads=1, adapters=root, kv=kv
    )
    return build_engine(options)


@pytest.fixture(scope="module", params=[2, 4])
def engines(
    request: pytest.FixtureRequest, folder: Path, root: Path
) -> Iterator[tuple[TorchEngine, TorchEngine]]:
    """One engine on one rank, one on several, with the same adapters."""
    alone, many = engine_of(folder, 1, root), engine_of(folder, request.param, root)
    for engine in (alone, many):
        for name in ("a0", "a1"):
            engine.load_adapter(name, name)
    yield alone, many
    alone.close()
    many.close()


def eventually(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def followers(process: psutil.Process) -> list[psutil.Process]:
    """The rank processes below ``process`` that live."""
    living = [c for c in process.children() if c.status() != psutil.STATUS_ZOMBIE]
    return [c for c in living if any("follower" in word for word in c.cmdline())]


def answers(engine: TorchEngine, adapters: tuple[str, ...] = ("",)) -> list[Answer]:
    """Prompts shorter and longer than a chunk, all at once; greedy and sampled."""
    return [
        ask(
            engine,
            random_tokens_of(engine, length, seed),
            adapter=adapter,
            max_tokens=10,
            ignore_eos=True,
            temperature=0.0 if seed % 2 else 0.9,
            seed=seed,
            logprobs=2,
        )
        for adapter in adapters
        for seed, length in enumerate((1, 5, 9, 40))
    ]


def random_tokens_of(engine: TorchEngine, length: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(20, engine.model.vocab_size) for _ in range(length)]


def test_ranks_give_the_tokens_of_one(engines: tuple[TorchEngine, TorchEngine]) -> None:
    alone, many = ([a.wait() for a in answers(engine)] for engine in engines)
    assert [a.tokens for a in many] == [a.tokens for a in alone]
    assert all(len(a.tokens) == 10 for a in many)


def test_adapters_are_the_same_on_ranks(engines: tuple[TorchEngine, TorchEngine]) -> None:
    names = ("a0", "", "a1")
    alone, many = ([a.wait() for a in answers(engine, names)] for engine in engines)
    assert [a.tokens for a in many] == [a.tokens for a in alone]
    first, base, second = (many[i : i + 4] for i in (0, 4, 8))
    for one, other in ((first, base), (second, base), (first, second)):
        assert [a.tokens for a in one] != [a.tokens for a in other]


def test_a_known_prefix_is_not_computed_again(engines: tuple[TorchEngine, TorchEngine]) -> None:
    texts = []
    for engine in engines:
        prompt = random_tokens_of(engine, 50, 9)
        first = ask(engine, prompt, max_tokens=10, temperature=0.0, ignore_eos=True).wait()
        longer = [*prompt, *first.tokens, 77]
        second = ask(engine, longer, max_tokens=10, temperature=0.0, ignore_eos=True).wait()
        assert second.finish.timings.cached_tokens >= 32, "its turn's end was kept"
        texts.append((first.tokens, second.tokens))
    assert texts[0] == texts[1]


def test_a_lost_rank_ends_the_engine_and_its_followers(folder: Path) -> None:
    others = followers(psutil.Process())
    engine = engine_of(folder, 2)
    try:
        (follower,) = (f for f in followers(psutil.Process()) if f not in others)
        running = ask(engine, [50, 60], max_tokens=90, ignore_eos=True)
        follower.kill()
        assert eventually(lambda: not engine.stats().alive)
        assert not any(d.finish and d.finish.reason is FinishReason.ERROR for d in running.deltas)
    finally:
        engine.close()
    assert followers(psutil.Process()) == others


def test_ranks_that_cannot_share_a_model_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="3 ranks do not divide num_groups 4"):
        engine_of(folder, 3)


@pytest.fixture
def worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of two ranks, in a process of its own."""
    flags = ["--model", str(folder), "--ranks", "2", "--port", "0", "--metrics-port", "off"]
    command = [sys.executable, "-m", "avikam", "worker", *flags, "--slots", "4"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        log: list[bytes] = []
        for line in process.stderr:
            log.append(line)
            if b"listening on" in line:
                break
        else:
            pytest.fail(f"the worker did not start: {b''.join(log).decode()}")
        yield process
        process.kill()


def test_a_worker_that_loses_a_rank_exits_with_status_1(worker: subprocess.Popen[bytes]) -> None:
    (follower,) = followers(psutil.Process(worker.pid))
    follower.kill()
    assert worker.wait(60) == 1


def test_followers_do_not_outlive_their_worker(worker: subprocess.Popen[bytes]) -> None:
    (follower,) = followers(psutil.Process(worker.pid))
    worker.kill()
    assert eventually(lambda: not follower.is_running() or follower.status() == "zombie")
