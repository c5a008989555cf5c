"""Batched decoding and likelihoods against the plain reference forward."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from avikam.model.loading import load_model
from avikam.model.reference import reference_logits
from avikam.trainer.decoding import Request, greedy
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import log_likelihoods
from avikam.trainer.served import ServedModel
from tests.trainer.builders import random_example, random_tokens, tiny_checkpoint, tiny_model

NO_STOP = -1


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 4, "num_heads": 8}])
def test_greedy_takes_the_reference_s_most_likely_token(changes: dict[str, int]) -> None:
    model = tiny_model(layer_types=("hybrid", "full"), **changes)
    rng = random.Random(1)
    prompts = [random_tokens(rng, rng.randrange(1, 30)) for _ in range(7)]
    answers = greedy(model, [Request(p, 12) for p in prompts], NO_STOP, batch_size=3)
    weights = model.state_dict()
    for prompt, answer in zip(prompts, answers, strict=True):
        assert len(answer) == 12
        logits = reference_logits(weights, model.config, prompt + answer[:-1])
        assert logits[len(prompt) - 1 :].argmax(-1).tolist() == answer


def test_a_row_ends_at_the_stop_token_or_its_own_limit() -> None:
    model = tiny_model()
    prompts = [random_tokens(random.Random(i), 5) for i in range(6)]
    free = greedy(model, [Request(p, 10) for p in prompts], NO_STOP)
    stop = free[0][4]
    limits = [10, 3, 10, 0, 10, 10]
    requests = [Request(p, n) for p, n in zip(prompts, limits, strict=True)]
    for answer, whole, limit in zip(greedy(model, requests, stop), free, limits, strict=True):
        cut = whole[: whole.index(stop)] if stop in whole else whole
        assert answer == cut[:limit]


def test_forbidden_tokens_are_never_chosen() -> None:
    model = tiny_model()
    request = Request(random_tokens(random.Random(0), 5), 10)
    free = greedy(model, [request], NO_STOP)[0]
    held = greedy(model, [request], NO_STOP, never={free[0], free[3]})[0]
    assert len(held) == 10
    assert not {free[0], free[3]} & set(held)


def test_a_prompt_longer_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="65 tokens does not fit into 64"):
        greedy(tiny_model(), [Request([1] * 65, 1)], NO_STOP)


def test_likelihoods_are_the_reference_s() -> None:
    model = tiny_model()
    rng = random.Random(5)
    examples = [random_example(rng, rng.randrange(2, 40)) for _ in range(9)]
    found = log_likelihoods(model, examples, batch_tokens=100)
    for example, likelihood in zip(examples, found, strict=True):
        assert likelihood.tokens == sum(example.counts[1:])
        expected = _reference_likelihood(model.state_dict(), model.config, example)
        assert math.isclose(likelihood.log_probability, expected, rel_tol=1e-4, abs_tol=1e-4)


def _reference_likelihood(weights: object, config: object, example: Example) -> float:
    logits = reference_logits(weights, config, example.tokens)  # type: ignore[arg-type]
    scores = torch.log_softmax(logits, -1)
    places = range(1, len(example.tokens))
    return sum(float(scores[i - 1, example.tokens[i]]) for i in places if example.counts[i])


def test_steps_over_slots_choose_and_score_alike_alone_and_together(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    rng = random.Random(3)
    requests = [
        Request(random_tokens(rng, rng.randrange(1, 40)), rng.randrange(12)) for _ in "abcde"
    ]
    together = ServedModel(checkpoint, slots=2).greedy(requests, NO_STOP)
    alone = ServedModel(checkpoint, slots=1)
    assert together == [alone.greedy([request], NO_STOP)[0] for request in requests]
    assert [len(answer) for answer in together] == [request.limit for request in requests]

    examples = [random_example(rng, rng.randrange(2, 40)) for _ in range(5)]
    scored = alone.log_likelihoods(examples)
    oracle = log_likelihoods(load_model(checkpoint, "float32"), examples)
    for ours, theirs in zip(scored, oracle, strict=True):
        assert ours.tokens == theirs.tokens
        assert math.isclose(ours.log_probability, theirs.log_probability, rel_tol=0.05, abs_tol=0.5)


@pytest.mark.parametrize("length", [5, 30])  # inside the window of 8, and beyond it
def test_options_after_one_question_score_as_they_do_alone(tmp_path: Path, length: int) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    rng = random.Random(length)
    question = random_tokens(rng, length)
    options = [random_tokens(rng, size) for size in (3, 1, 2, 3)]
    options.append([*options[0][:2], 7])
    examples = [
        Example([*question, *option], [False] * length + [True] * len(option)) for option in options
    ]
    examples.append(Example(question, [False] * length))  # nothing to score
    examples.append(Example(question, [True] * length))
    model = ServedModel(checkpoint, slots=1)
    together = model.log_likelihoods(examples)
    assert together == [model.log_likelihoods([example])[0] for example in examples]
