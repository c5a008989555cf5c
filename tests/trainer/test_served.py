"""What a trained model scores here, it scores through the server."""

from __future__ import annotations

import random

import pytest

from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import load_model
from avikam.model.tokenizer import Tokenizer
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import log_likelihoods
from tests.gateway.harness import serving
from tests.trainer.conftest import Pipeline
from tests.trainer.toy import sentence


async def test_a_harness_gets_the_likelihoods_that_eval_uses(pipeline: Pipeline) -> None:
    """The request of lm-eval's ``local-completions``: token ids, echoed with their logprobs."""
    checkpoint = load_checkpoint(pipeline.model)
    tokenizer, model = Tokenizer(checkpoint.tokenizer_file), load_model(checkpoint)
    rng = random.Random(0)
    prompts = [tokenizer.encode_prompt(sentence(rng)[i % 2]) for i in range(6)]
    examples = [Example(p, [False] + [True] * (len(p) - 1)) for p in prompts]
    expected = [each.log_probability for each in log_likelihoods(model, examples)]
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


async def test_a_greedy_answer_is_the_same_here_and_served(pipeline: Pipeline) -> None:
    prompts = [f"Traduis en anglais : {sentence(random.Random(i))[0]}" for i in range(4)]
    subject = load_subject(pipeline.model)
    expected = subject.answer(prompts, [24] * 4, 4, lambda done: None)
    async with serving(worker={"engine": "real", "model": pipeline.model}) as gateway:
        for prompt, text in zip(prompts, expected, strict=True):
            reply = await gateway.post(
                "/v1/chat/completions",
                model="avikam1-nano", temperature=0, frequency_penalty=0, max_tokens=24,
                messages=[{"role": "user", "content": prompt}],
            )  # fmt: skip
            assert reply.json()["choices"][0]["message"]["content"] == text, reply.text
