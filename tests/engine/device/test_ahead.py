"""Steps launched ahead give what steps one by one give, and wait only where they say."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from avikam.engine.engine import TorchEngine
from avikam.engine.interface import FinishReason, TokenChoice
from avikam.engine.kv.prefix_cache import KvOptions
from tests.effort import effort
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.device.conftest import Place
from tests.engine.device.recorder import Recorder
from tests.engine.machine import Machine, Oracle, adapter_root, engine_by_hand, step
from tests.engine.test_engine import prompt_of, settled
from tests.model.builders import tiny_checkpoint

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.9},
    {"temperature": 1.1, "top_k": 7},
    {"temperature": 0.8, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 0.7, "stop": ("e ", "ou")},
    {"min_tokens": 5},
    {"temperature": 0.9, "repetition_penalty": 1.2},
    {"logprobs": 2, "prompt_logprobs": 1},
    {"regex": "[a-f ]{3,9}"},
    {"logit_bias": {17: 4.0}, "ignore_eos": True},
)


def asked(engine: TorchEngine, adapters: tuple[str, ...] = ("",)) -> list[Answer]:
    """Requests of every kind, all at once; each kind alone too, so that most steps fly."""
    rng = random.Random(3)
    answers = []
    for i, kind in enumerate(KINDS * 4):
        prompt = prompt_of(rng.randint(1, 70), seed=i % 13)
        adapter = rng.choice(adapters)
        most = rng.randint(1, 24)
        answers.append(ask(engine, prompt, adapter=adapter, max_tokens=most, seed=i, **kind))
        if i % 8 == 7:
            [answer.wait() for answer in answers]
    return [answer.wait() for answer in answers]


def said(answers: list[Answer]) -> list[Any]:
    """What must not depend on how steps are launched; who shares a step depends on timing, and
    so do the last digits of a logprob."""
    return [
        (
            (a.tokens, a.text, a.finish.reason),
            [_rounded(choice) for choice in a.finish.prompt_choices],
            [_rounded(choice) for delta in a.deltas for choice in delta.choices],
        )
        for a in answers
    ]


def _rounded(choice: TokenChoice) -> tuple[Any, ...]:
    return (choice.token, pytest.approx(choice.logprob, abs=1e-3), [t for t, _ in choice.top])


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reuse"])
def test_tokens_are_those_of_steps_one_by_one(
    build: BuildEngine, place: Place, tmp_path: Path, checkpoint: Path, reuse: bool
) -> None:
    kv = KvOptions(chunk=16, break_even=1) if reuse else None
    common = {"weights": "float32", "slots": 5, "adapters": adapter_root(tmp_path, checkpoint)}
    engines = []
    for recorder in (None, Recorder()):
        place(recorder)
        engines.append(build(kv=kv, **common))
        for name in ("a0", "a1"):
            engines[-1].load_adapter(name, name)
    plain, ahead = (said(asked(engine, ("", "", "a0", "a1"))) for engine in engines)
    assert ahead == plain


def test_a_step_is_launched_before_the_one_before_is_read(build: BuildEngine, place: Place) -> None:
    recorder = Recorder()
    place(recorder)
    engine = build(weights="float32", kv=None)
    ask(engine, prompt_of(5), max_tokens=4, ignore_eos=True).wait()
    settled(engine)
    recorder.journal.clear()
    ask(engine, prompt_of(5), max_tokens=6, ignore_eos=True).wait()
    # The prompt's step is launched call by call; then each wait finds the next step launched.
    assert recorder.journal == ["asked", *(["replayed", "asked", "waited"] * 5), "waited"]


def test_what_the_host_must_choose_waits_for_its_step(build: BuildEngine, place: Place) -> None:
    recorder = Recorder()
    place(recorder)
    engine = build(weights="float32", kv=None)
    ask(engine, prompt_of(5), max_tokens=4, ignore_eos=True).wait()
    settled(engine)
    recorder.journal.clear()
    ask(engine, prompt_of(5), max_tokens=6, ignore_eos=True, logprobs=0).wait()
    assert recorder.journal.count("replayed") == 5
    assert "asked" not in recorder.journal


def test_a_row_without_numbers_fails_alone(
    build: BuildEngine, place: Place, tmp_path: Path
) -> None:
    place(Recorder())
    untied = tiny_checkpoint(tmp_path / "untied", tie_embeddings=False)
    engine = build(model=untied, weights="float32", kv=None, slots=3)
    healthy = [prompt_of(9, seed) for seed in (1, 2)]
    expected = [ask(engine, p, max_tokens=12, ignore_eos=True).wait().tokens for p in healthy]
    with torch.inference_mode():
        engine._runner.model.embed.weight[305] = torch.nan  # type: ignore[attr-defined]
    answers = [ask(engine, p, max_tokens=12, ignore_eos=True) for p in healthy]
    ill = ask(engine, [5, 305, 6], max_tokens=12)
    assert ill.finish.reason is FinishReason.ERROR
    assert ill.tokens == []
    assert [answer.wait().tokens for answer in answers] == expected
    again = ask(engine, healthy[0], max_tokens=12, ignore_eos=True).wait()
    assert again.tokens == expected[0], "the slot was wiped"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("turn", [64, 1], ids=["slots are kept", "slots go round"])
def test_random_operations_between_launch_and_landing(
    monkeypatch: pytest.MonkeyPatch, place: Place, tmp_path: Path, checkpoint: Path, turn: int
) -> None:
    monkeypatch.setattr("avikam.engine.scheduler.TURN", turn)
    root = adapter_root(tmp_path, checkpoint)
    common = {"model": checkpoint, "slots": 3, "adapters": root, "weights": "float32"}
    place(None)
    oracle = Oracle(engine_by_hand(monkeypatch, kv=None, token_budget=64, **common))
    recorder = Recorder()
    place(recorder)
    engine = engine_by_hand(
        monkeypatch,
        **common,
        token_budget=24,
        queue_requests=8,
        queue_tokens=400,
        adapter_bytes=2 * oracle._engine.stats().adapters[0].bytes,
        kv=KvOptions(host_bytes=240_000, chunk=16, break_even=4),
    )
    for seed in range(effort(quick=24, full=2_000)):
        Machine(engine, oracle, seed).run(acts=40)
    did = Counter(recorder.journal)
    assert did["replayed"] > 20
    kv = engine.stats().kv
    assert kv is not None
    assert kv.device_hits > 0
    assert kv.host_hits > 0
    assert not step(engine)
    engine.close()
