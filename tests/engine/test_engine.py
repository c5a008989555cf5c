"""The engine as its callers see it."""

from __future__ import annotations

import itertools
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from avikam.engine.engine import TorchEngine
from avikam.engine.interface import Delta, FinishReason
from avikam.model.checkpoint import load_checkpoint
from avikam.model.linear import Int8Embedding
from avikam.model.quantize import float_state
from avikam.model.reference import reference_logits
from avikam.model.tokenizer import Tokenizer
from avikam.model.transformer import Avikam1
from avikam.protocol.errors import ApiError
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine

SAMPLED: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "top_k": 50}


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(10, 300), k=length)


def settled(engine: TorchEngine) -> None:
    """Wait until the engine holds nothing."""
    until = time.monotonic() + 20
    while engine.stats().slots_used or engine.stats().waiting:
        if time.monotonic() > until:
            raise TimeoutError(f"the engine did not become idle: {engine.stats()}")
        time.sleep(0.005)


def test_greedy_tokens_are_the_references_argmax(build: BuildEngine, checkpoint: Path) -> None:
    engine = build(weights="float32")
    stored = load_checkpoint(checkpoint)
    tokenizer = Tokenizer(stored.tokenizer_file)
    prompt = prompt_of(20)
    answer = ask(engine, prompt, max_tokens=20, ignore_eos=True).wait()
    logits = reference_logits(float_state(stored.weights), stored.config, [*prompt, *answer.tokens])
    logits[:, sorted(tokenizer.control_ids - {tokenizer.eos_id})] = -torch.inf
    assert answer.tokens == logits[19:-1].argmax(dim=-1).tolist()


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "seeded"])
def test_64_streams_give_the_text_that_each_gives_alone(
    build: BuildEngine, sampling: dict[str, Any]
) -> None:
    engine = build(slots=24, token_budget=64)
    rng = random.Random(5)
    jobs: list[tuple[list[int], dict[str, Any]]] = [
        (prompt_of(rng.randint(1, 60), i), {"max_tokens": rng.randint(1, 30), "seed": i} | sampling)
        for i in range(64)
    ]
    alone = [ask(engine, prompt, **params).wait() for prompt, params in jobs]
    crowd = [ask(engine, prompt, **params) for prompt, params in jobs]
    assert [a.wait().tokens for a in crowd] == [a.tokens for a in alone]
    assert [a.text for a in crowd] == [a.text for a in alone]


@pytest.mark.parametrize("sampling", [{}, SAMPLED | {"frequency_penalty": 0.5}])
def test_a_resumed_sequence_continues_as_if_never_cut(
    build: BuildEngine, sampling: dict[str, Any]
) -> None:
    engine = build()
    prompt = prompt_of(13)
    params: dict[str, Any] = {"max_tokens": 20, "seed": 3, "stop": ("e ", "ous")} | sampling
    whole = ask(engine, prompt, **params).wait()
    for cut in range(len(whole.tokens)):
        seen = tuple(whole.tokens[:cut])
        told = "".join(d.text for d in whole.deltas[:cut])
        rest = ask(engine, prompt, generated=seen, **params).wait()
        assert [*seen, *rest.tokens] == whole.tokens
        assert told + rest.text == whole.text
        assert rest.finish.completion_tokens == whole.finish.completion_tokens
        assert rest.finish.reason == whole.finish.reason


def test_resuming_after_the_last_token_ends_at_once(build: BuildEngine) -> None:
    engine = build()
    whole = ask(engine, prompt_of(5), max_tokens=6).wait()
    again = ask(engine, prompt_of(5), max_tokens=6, generated=tuple(whole.tokens)).wait()
    assert again.tokens == []
    assert again.finish.reason is whole.finish.reason


def test_running_sequences_are_not_starved_by_arriving_prompts(build: BuildEngine) -> None:
    engine = build(slots=4, token_budget=64)
    steps: list[int] = []
    talking = ask(
        engine,
        prompt_of(4),
        max_tokens=60,
        ignore_eos=True,
        on_delta=lambda _: steps.append(engine.stats().step),
    )
    while not talking.done.is_set():
        for answer in [ask(engine, prompt_of(80, i), max_tokens=1) for i in range(3)]:
            answer.wait()
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert len(steps) == 60
    assert max(gaps) <= 1, "a running sequence missed a step"


def test_logprobs_come_with_their_tokens(build: BuildEngine) -> None:
    answer = ask(build(), prompt_of(6), max_tokens=5, logprobs=3, prompt_logprobs=2).wait()
    choices = [choice for delta in answer.deltas for choice in delta.choices]
    assert [choice.token for choice in choices] == answer.tokens
    for choice in choices:
        assert choice.rank == 1
        assert [p for _, p in choice.top] == sorted((p for _, p in choice.top), reverse=True)
        assert choice.top[0] == (choice.token, choice.logprob)
    prompt = answer.finish.prompt_choices
    assert [choice.token for choice in prompt] == prompt_of(6)[1:]
    assert all(choice.logprob <= 0 and len(choice.top) == 2 for choice in prompt)


def test_every_parameter_changes_the_answer(build: BuildEngine) -> None:
    engine = build()
    base = ask(engine, prompt_of(12), max_tokens=25, ignore_eos=True).wait()
    common = max(set(base.tokens), key=base.tokens.count)
    assert base.tokens.count(common) > 1
    changes: list[dict[str, Any]] = [
        {"temperature": 1.5, "seed": 1},
        {"repetition_penalty": 1.8},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"logit_bias": {common: -100.0}},
    ]
    for change in changes:
        other = ask(engine, prompt_of(12), max_tokens=25, ignore_eos=True, **change).wait()
        assert other.tokens != base.tokens, change


def test_min_tokens_holds_back_the_end(build: BuildEngine) -> None:
    engine = build()
    free = ask(engine, prompt_of(9), max_tokens=20, ignore_eos=True).wait()
    early = free.tokens[0]
    stopped = ask(engine, prompt_of(9), max_tokens=20, stop_token_ids=(early,)).wait()
    assert stopped.finish.reason is FinishReason.STOP
    assert stopped.tokens == [early]
    assert stopped.text == ""
    held = ask(engine, prompt_of(9), max_tokens=20, stop_token_ids=(early,), min_tokens=4).wait()
    assert held.finish.completion_tokens >= 4
    assert early not in held.tokens[:3]


def test_a_cancelled_sequence_ends_within_a_step(build: BuildEngine) -> None:
    engine = build()
    first = threading.Event()
    answer = ask(
        engine, prompt_of(5), max_tokens=80, ignore_eos=True, on_delta=lambda _: first.set()
    )
    first.wait(10)
    engine.cancel(answer.request_id)
    assert answer.finish.reason is FinishReason.CANCELLED
    settled(engine)


def test_a_deadline_ends_waiting_and_running_sequences(build: BuildEngine) -> None:
    engine = build(slots=1)
    soon = time.monotonic() + 0.2

    def slowly(_: object) -> None:  # told by the engine's thread, so that nothing ends in time
        time.sleep(max(0.0, soon - time.monotonic()))

    running = ask(
        engine, prompt_of(5), max_tokens=90, ignore_eos=True, deadline=soon, on_delta=slowly
    )
    waiting = ask(engine, prompt_of(5, 1), max_tokens=90, ignore_eos=True, deadline=soon)
    assert running.finish.reason is FinishReason.DEADLINE
    assert waiting.finish.reason is FinishReason.DEADLINE
    assert waiting.tokens == []


@pytest.mark.parametrize(
    ("prompt", "sampling", "code"),
    [
        ([], {}, "invalid_value"),
        ([9999], {}, "invalid_value"),
        ([-1], {}, "invalid_value"),
        ([11] * 96, {}, "context_length_exceeded"),
        ([11] * 90, {"max_tokens": 7}, "context_length_exceeded"),
        ([11], {"logit_bias": {100_000: 1.0}}, "invalid_value"),
        ([11], {"stop_token_ids": (100_000,)}, "invalid_value"),
    ],
)
def test_what_can_never_fit_is_refused_at_admission(
    build: BuildEngine, prompt: list[int], sampling: dict[str, Any], code: str
) -> None:
    with pytest.raises(ApiError) as refusal:
        ask(build(), prompt, **sampling)
    assert (refusal.value.status, refusal.value.code) == (400, code)


def test_a_prompt_may_fill_the_context_to_the_last_token(build: BuildEngine) -> None:
    answer = ask(build(), [11] * 90, max_tokens=6, ignore_eos=True).wait()
    assert answer.finish.completion_tokens == 6
    unlimited = ask(build(), [11] * 90, ignore_eos=True).wait()
    assert unlimited.finish.completion_tokens == 6


def test_a_full_queue_refuses_with_429(build: BuildEngine) -> None:
    engine = build(slots=1, queue_requests=2)
    accepted: list[Answer] = []

    def flood() -> None:
        while len(accepted) < 10:
            accepted.append(ask(engine, prompt_of(5), max_tokens=80, ignore_eos=True))

    with pytest.raises(ApiError) as refusal:
        flood()
    assert refusal.value.status == 429
    assert refusal.value.retry_after
    assert 2 <= len(accepted) <= 4
    for answer in accepted:
        answer.wait()


def test_logits_that_are_not_numbers_end_that_row_only(build: BuildEngine) -> None:
    engine = build(slots=2, native=False)
    healthy, poison = prompt_of(7), [*prompt_of(7, 1), 305]
    alone = ask(engine, healthy, max_tokens=30, ignore_eos=True).wait()
    model = engine._runner.model
    assert isinstance(model, Avikam1)
    embedding = model.embed
    assert isinstance(embedding, Int8Embedding)
    embedding._scale = embedding._scale.clone()  # the head reads the same tensor
    embedding._scale[305] = torch.nan
    for _ in range(3):  # the slot of the broken row is used again
        beside = ask(engine, healthy, max_tokens=30, ignore_eos=True)
        broken = ask(engine, poison, max_tokens=5).wait()
        assert broken.finish.reason is FinishReason.ERROR
        assert beside.wait().tokens == alone.tokens


def test_a_failing_step_ends_its_sequences_and_spares_the_engine(
    build: BuildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build()
    with monkeypatch.context() as patched:
        patched.setattr(engine._runner, "launch", lambda batch: 1 / 0)
        broken = ask(engine, prompt_of(7), max_tokens=5).wait()
    assert broken.finish.reason is FinishReason.FAILED
    assert "ZeroDivisionError" not in broken.finish.error
    assert ask(engine, prompt_of(7), max_tokens=5).wait().tokens


def test_1000_callers_that_leave_at_random_points_leave_nothing(build: BuildEngine) -> None:
    engine = build(slots=8, queue_requests=2000)
    rng = random.Random(11)
    leave_after = [rng.randint(0, 6) for _ in range(1000)]
    answers: list[Answer] = []

    def leaver(limit: int, request_id: list[str]) -> object:
        def on_delta(delta: Delta) -> None:
            if delta.first_index >= limit:
                engine.cancel(request_id[0])

        return on_delta

    for i, limit in enumerate(leave_after):
        name: list[str] = [""]
        answer = ask(
            engine,
            prompt_of(rng.randint(1, 20), i),
            max_tokens=8,
            on_delta=leaver(limit, name),  # type: ignore[arg-type]
        )
        name[0] = answer.request_id
        answers.append(answer)
        if limit == 0:
            engine.cancel(answer.request_id)
    reasons = {answer.finish.reason for answer in answers}
    assert FinishReason.CANCELLED in reasons
    settled(engine)
    assert engine.stats().load_tokens == 0


def test_closing_ends_what_runs(build: BuildEngine) -> None:
    engine = build(slots=1)
    answers = [ask(engine, prompt_of(5, i), max_tokens=90, ignore_eos=True) for i in range(4)]
    engine.close()
    assert {a.finish.reason for a in answers} <= {FinishReason.CANCELLED, FinishReason.LENGTH}
    with pytest.raises(ApiError) as refusal:
        ask(engine, prompt_of(5))
    assert refusal.value.status == 503
