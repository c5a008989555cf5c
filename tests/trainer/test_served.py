"""What a trained model scores here, it scores through the server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.examples import Example
from tests.gateway.harness import serving
from tests.trainer.conftest import Pipeline
from tests.trainer.toy import sentence

EMBEDDED = Path(__file__).parents[2] / "models" / "avikam1-nano"


async def test_a_harness_gets_the_likelihoods_that_eval_uses(pipeline: Pipeline) -> None:
    """The request of lm-eval's ``local-completions``: token ids, echoed with their logprobs."""
    subject = load_subject(pipeline.model)
    rng = random.Random(0)
    prompts = [subject.tokenizer.encode_prompt(sentence(rng)[i % 2]) for i in range(6)]
    examples = [Example(p, [False] + [True] * (len(p) - 1)) for p in prompts]
    scored = subject.log_likelihoods(examples, lambda done: None)
    expected = [each.log_probability for each in scored]
    async with serving(worker={"engine": "real", "model": pipeline.model}) as gateway:
        reply = await gateway.post(
            "/v1/completions",
            prompt=prompts, max_tokens=0, temperature=0, echo=True, logprobs=1,
        )  # fmt: skip
    assert reply.status_code == 200, reply.text
    served = [
        sum(filter(None, choice["logprobs"]["token_logprobs"]))
        for choice in reply.json()["choices"]
    ]
    assert served == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("which", ["toy", "embedded"])
async def test_a_greedy_answer_is_the_same_here_and_served(which: str, pipeline: Pipeline) -> None:
    model = pipeline.model if which == "toy" else EMBEDDED
    prompts = [f"Traduis en anglais : {sentence(random.Random(i))[0]}" for i in range(4)]
    subject = load_subject(model)
    expected = subject.answer(prompts, [24] * 4, 4, lambda done: None)
    async with serving(worker={"engine": "real", "model": model}) as gateway:
        for prompt, text in zip(prompts, expected, strict=True):
            reply = await gateway.post(
                "/v1/chat/completions",
                model=subject.name, temperature=0, frequency_penalty=0, max_tokens=24,
                messages=[{"role": "user", "content": prompt}],
            )  # fmt: skip
            assert reply.json()["choices"][0]["message"]["content"] == text, reply.text
