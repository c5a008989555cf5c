"""Answers that must match: every finished one does, whatever the model would rather say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from avikam.engine.interface import FinishReason
from avikam.protocol.errors import ApiError
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "ville": {"enum": ["Paris", "Orléans", "Nîmes"]},
            "oui": {"type": "boolean"},
        },
        "required": ["ville", "oui"],
        "additionalProperties": False,
    }
)
PROMPT = [11, 60, 200, 33]


@pytest.mark.parametrize("seed", range(5))
def test_a_finished_answer_is_valid_json_of_the_schema(build: BuildEngine, seed: int) -> None:
    answer = ask(build(), PROMPT, json_schema=SCHEMA, temperature=1.5, seed=seed).wait()
    assert answer.finish.reason is FinishReason.STOP
    value = json.loads(answer.text)
    assert value["ville"] in ("Paris", "Orléans", "Nîmes")
    assert isinstance(value["oui"], bool)


@pytest.mark.parametrize("regex", [r"[0-9]{3}-[a-f]+é", r" ?(oui|non)!", r"\d+ €"])
def test_a_finished_answer_matches_the_expression(build: BuildEngine, regex: str) -> None:
    engine = build()
    for seed in range(8):
        answer = ask(engine, PROMPT, regex=regex, temperature=1.0, seed=seed).wait()
        if answer.finish.reason is FinishReason.STOP:
            assert re.fullmatch(regex, answer.text), answer.text


def test_it_resumes_at_every_token(build: BuildEngine) -> None:
    engine = build()
    params: dict[str, Any] = {"json_schema": SCHEMA, "temperature": 1.0, "seed": 3}
    whole = ask(engine, PROMPT, **params).wait()
    for cut in range(len(whole.tokens) + 1):
        rest = ask(engine, PROMPT, generated=tuple(whole.tokens[:cut]), **params).wait()
        assert whole.tokens[:cut] + rest.tokens == whole.tokens
        assert rest.finish.reason is FinishReason.STOP


def test_free_and_bound_sequences_share_a_batch(build: BuildEngine) -> None:
    engine = build()
    free = ask(engine, PROMPT, max_tokens=15).wait()
    crowd = [ask(engine, PROMPT, max_tokens=15) for _ in range(3)]
    bound = [ask(engine, PROMPT, regex="(ab)+c", seed=i, temperature=1.0) for i in range(3)]
    assert all(answer.wait().tokens == free.tokens for answer in crowd)
    assert all(set(answer.wait().text) <= set("abc") for answer in bound)


@pytest.mark.parametrize(
    "params",
    [
        {"json_schema": "{not json"},
        {"json_schema": '{"type": "wonder"}'},
        {"json_schema": '{"$ref": "#/nowhere"}'},
        {"regex": "(unclosed"},
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused(
    build: BuildEngine, params: dict[str, Any]
) -> None:
    with pytest.raises(ApiError) as refusal:
        ask(build(), PROMPT, **params)
    assert (refusal.value.status, refusal.value.param) == (400, "response_format")
