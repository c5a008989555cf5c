"""Answers with a warm cache are the answers without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avikam.engine.kv.prefix_cache import KvOptions
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import cached, hits, kv, prompt_of

WARM = KvOptions(chunk=16, break_even=1)
SEEDED: dict[str, Any] = {"temperature": 0.9, "top_k": 50, "seed": 11}


@pytest.mark.parametrize("sampling", [{}, SEEDED], ids=["greedy", "seeded"])
def test_every_prompt_length_is_answered_as_without_a_cache(
    build: BuildEngine, sampling: dict[str, Any]
) -> None:
    cold, warm = build(kv=None), build(kv=WARM)
    whole = prompt_of(80)
    params: dict[str, Any] = {"max_tokens": 2, "ignore_eos": True} | sampling
    expected = {n: ask(cold, whole[:n], **params) for n in range(1, 81)}
    for length in (*range(80, 0, -1), *range(1, 81)):
        answer = ask(warm, whole[:length], **params).wait()
        alone = expected[length].wait()
        assert (answer.tokens, answer.text) == (alone.tokens, alone.text), length
        assert cached(alone) == 0
    assert hits(warm) > 100


def test_long_prompts_begin_where_the_longest_known_prefix_ends(
    build: BuildEngine, long_checkpoint: Path
) -> None:
    cold, warm = (build(model=long_checkpoint, kv=options) for options in (None, WARM))
    whole = prompt_of(620)
    ask(warm, whole, max_tokens=1).wait()
    for length in (17, 32, 33, 255, 256, 257, 400, 511, 512, 513, 600):
        expected = ask(cold, whole[:length], max_tokens=4, ignore_eos=True).wait()
        answer = ask(warm, whole[:length], max_tokens=4, ignore_eos=True).wait()
        assert answer.tokens == expected.tokens, length
        assert cached(answer) >= (length - 1) // 16 * 16


def test_a_conversation_computes_each_turn_once(build: BuildEngine, long_checkpoint: Path) -> None:
    cold, warm = (build(model=long_checkpoint, kv=options) for options in (None, WARM))
    tokens: list[int] = []
    known = 0
    for turn in range(10):
        tokens += prompt_of(9, seed=turn)
        expected = ask(cold, tokens, max_tokens=7, ignore_eos=True).wait()
        answer = ask(warm, tokens, max_tokens=7, ignore_eos=True).wait()
        assert answer.text == expected.text
        assert cached(answer) == known
        tokens += answer.tokens
        known = len(tokens) - 1  # the last token has been chosen, not computed
    assert kv(warm).spared_tokens == sum(range(15, 15 + 9 * 16, 16))


def test_a_resumed_sequence_uses_what_is_known(build: BuildEngine) -> None:
    engine = build(kv=WARM)
    prompt = prompt_of(40)
    whole = ask(engine, prompt, max_tokens=20, ignore_eos=True, **SEEDED).wait()
    for cut in (1, 9, 19):
        seen = tuple(whole.tokens[:cut])
        rest = ask(engine, prompt, generated=seen, max_tokens=20, ignore_eos=True, **SEEDED).wait()
        assert [*seen, *rest.tokens] == whole.tokens
        assert 32 <= cached(rest) <= 40


def test_prompt_logprobs_compute_every_token(build: BuildEngine) -> None:
    engine = build(kv=WARM)
    prompt = prompt_of(40)
    first = ask(engine, prompt, max_tokens=2, prompt_logprobs=1).wait()
    again = ask(engine, prompt, max_tokens=2, prompt_logprobs=1).wait()
    assert again.finish.prompt_choices == first.finish.prompt_choices
    assert len(again.finish.prompt_choices) == 39
    assert cached(again) == 0


def test_below_the_break_even_length_nothing_is_kept(build: BuildEngine) -> None:
    engine = build(kv=KvOptions(chunk=16, break_even=50))
    for _ in range(2):
        assert cached(ask(engine, prompt_of(40), max_tokens=8, ignore_eos=True).wait()) == 0
    assert kv(engine).host_entries == 0
    ask(engine, prompt_of(70), max_tokens=2, ignore_eos=True).wait()
    assert cached(ask(engine, prompt_of(70), max_tokens=2, ignore_eos=True).wait()) == 64


def test_64_streams_over_shared_prefixes_give_what_each_gives_alone(build: BuildEngine) -> None:
    cold, warm = build(kv=None), build(kv=WARM, slots=24, token_budget=64)
    system = prompt_of(35)
    prompts = [system + prompt_of(i % 23, seed=i % 7) for i in range(64)]
    expected = [ask(cold, p, max_tokens=5, seed=i).wait().tokens for i, p in enumerate(prompts)]
    crowd = [ask(warm, p, max_tokens=5, seed=i) for i, p in enumerate(prompts)]
    assert [answer.wait().tokens for answer in crowd] == expected
    assert hits(warm) > 0
