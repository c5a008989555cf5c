"""What a stream says, joined, is what its tokens say at once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from avikam.model.tokenizer import Tokenizer
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine

HARD = ("é", "œuf", "😀", "👩‍👩‍👧", "\n€")


def test_1000_random_generations_stream_the_text_of_their_tokens(
    build: BuildEngine, checkpoint: Path
) -> None:
    """At temperature 2 a random model says anything; a bias has it spell characters in bytes."""
    tokenizer = Tokenizer(checkpoint / "tokenizer.model")
    engine = build(slots=24, token_budget=128)
    rng = random.Random(4)
    answers = []
    for seed in range(1000):
        prompt = tokenizer.encode(rng.choice(HARD))
        sampling: dict[str, Any] = {"temperature": 2.0, "seed": seed, "ignore_eos": True}
        if seed % 2:
            pieces = tokenizer.encode(rng.choice("é😀语"))
            sampling["logit_bias"] = dict.fromkeys(pieces, 20.0)
        answers.append((prompt, ask(engine, prompt, max_tokens=rng.randint(1, 24), **sampling)))
    for prompt, answer in answers:
        answer.wait()
        assert answer.text == tokenizer.decode(answer.tokens, after=prompt[-1])
    everything = "".join(answer.text for _, answer in answers)
    assert {"é", "😀", "语", "\ufffd"} <= set(everything)
