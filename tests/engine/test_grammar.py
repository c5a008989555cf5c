"""Answers that must match: every finished one does, whatever the model would rather say."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from avikam.engine.grammar import GrammarCompiler
from avikam.engine.interface import FinishReason
from avikam.model.tokenizer import Tokenizer
from avikam.protocol.errors import ApiError
from avikam.protocol.sampling import SamplingParams
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
        {"json_schema": '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}'},
        {"json_schema": '{"enum": []}'},
        {"regex": "(unclosed"},
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused_by_its_own_field(
    build: BuildEngine, params: dict[str, Any]
) -> None:
    with pytest.raises(ApiError) as refusal:
        ask(build(), PROMPT, **params)
    (field,) = params
    assert (refusal.value.status, refusal.value.param) == (400, field)
    assert refusal.value.code == "invalid_grammar"


# Each "a" that is read makes the matcher's automaton grow, past its library's bounds in the end.
GROWING = "((a{1,100}){1,100}){1,100}"


def test_a_grammar_that_grows_too_complex_ends_its_own_answer_with_an_error(
    build: BuildEngine,
) -> None:
    engine = build()
    alone = ask(engine, PROMPT, max_tokens=60, ignore_eos=True).wait()
    beside = ask(engine, PROMPT, max_tokens=60, ignore_eos=True)
    broken = ask(engine, PROMPT, regex=GROWING, max_tokens=80, ignore_eos=True, min_tokens=80)
    assert broken.finish.reason is FinishReason.ERROR, "half an answer must not pass as a whole one"
    assert "cannot follow its grammar any further" in broken.finish.error
    assert beside.wait().tokens == alone.tokens


def test_a_grammar_that_has_grown_too_complex_is_compiled_anew(build: BuildEngine) -> None:
    engine = build()
    lengths = []
    for _ in range(3):
        answer = ask(engine, PROMPT, regex=GROWING, max_tokens=80, min_tokens=80)
        assert answer.finish.reason is FinishReason.ERROR
        lengths.append(len(answer.tokens))
    assert lengths == [lengths[0]] * 3, "nobody finds what others have used up"


def test_tokens_that_a_grammar_does_not_allow_cannot_be_resumed(build: BuildEngine) -> None:
    answer = ask(build(), PROMPT, regex="(ab)+c", generated=(PROMPT[0],), max_tokens=9)
    assert answer.finish.reason is FinishReason.ERROR
    assert answer.tokens == []


def test_a_walk_ends_when_its_masks_have_taken_too_long(checkpoint: Path) -> None:
    """The clock is slow: every mask takes 20 ms, of which 2 are free."""
    clock = itertools.count(step=0.02)
    compiler = GrammarCompiler(Tokenizer(checkpoint / "tokenizer.model"), lambda: next(clock))
    walk = compiler.grammar(SamplingParams(regex="a*"))
    assert walk is not None
    masks = []
    while (mask := walk.allowed()).any():
        masks.append(mask)
        walk.accept((int(mask.nonzero().max()),))
    assert len(masks) == 5, "0.1 s in all"
    assert "takes too long" in walk.problem
    assert not walk.complete


def test_a_grammar_whose_first_mask_takes_too_long_is_refused(checkpoint: Path) -> None:
    clock = itertools.count()
    compiler = GrammarCompiler(Tokenizer(checkpoint / "tokenizer.model"), lambda: next(clock))
    with pytest.raises(ApiError, match="takes too long"):
        compiler.grammar(SamplingParams(regex="a*"))
