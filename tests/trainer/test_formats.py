"""Rows of conversations in the forms people have them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.conversation_rows import RowError, turns_of
from avikam.trainer.corpus import load_corpus
from avikam.trainer.finetuning.dataset import load_dataset, read_examples, split_off
from avikam.trainer.preparation.intake import read_rows
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.sources import pretraining_sources
from tests.model.builders import train_tiny_tokenizer

CAT = [("user", "Traduis : the cat"), ("assistant", "le chat")]
FORMS: dict[str, dict[str, Any]] = {
    "openai": {
        "messages": [
            {"role": "user", "content": "Traduis : the cat"},
            {"role": "assistant", "content": "le chat"},
        ]
    },
    "content parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Traduis : the cat"}]},
            {"role": "assistant", "content": "le chat"},
        ]
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "Traduis : the cat"},
            {"from": "gpt", "value": "le chat"},
        ]
    },
    "alpaca": {"instruction": "Traduis : the cat", "input": "", "output": "le chat"},
    "prompt and completion": {"prompt": "Traduis : the cat", "completion": "le chat"},
}
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"question": "a", "answer": "b"}, "its columns are question, answer; needs messages"),
    ({"messages": "hello"}, "messages is a str, needs a list"),
    ({"messages": [{"content": "x"}]}, "messages[0] has no 'role'"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "the role 'narrator'; known: system"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0] has no text in 'content'"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "a content part is 'image_url'; only text is read",
    ),
    ({"conversations": [{"from": "human"}]}, "conversations[0] has no text in 'value'"),
    ({"instruction": "a", "output": "b", "history": ["x"]}, "history[0] is no pair"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(train_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer") / "t.model"))


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_turns(name: str) -> None:
    assert turns_of(FORMS[name]) == CAT


def test_alpaca_has_a_system_text_an_input_and_a_history() -> None:
    row = {
        "system": "Be brief.",
        "history": [["a", "b"]],
        "instruction": "Traduis",
        "input": "cat",
        "output": "chat",
    }
    assert turns_of(row) == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Traduis\ncat"),
        ("assistant", "chat"),
    ]


def test_what_a_tool_answers_comes_from_outside() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "Use tools."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w"}}]},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
        ]
    }
    assert turns_of(row) == [
        ("system", "Use tools."),
        ("user", "Weather?"),
        ("assistant", '[{"function": {"name": "w"}}]'),
        ("user", "rain"),
        ("assistant", "It rains."),
    ]


@pytest.mark.parametrize(("row", "message"), BROKEN)
def test_a_row_that_is_none_says_why(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError) as raised:
        turns_of(row)
    assert message in str(raised.value)


def test_rows_left_out_are_counted_and_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    silent = {"messages": [{"role": "user", "content": "anybody there?"}]}
    path = write(tmp_path / "train.jsonl", FORMS["alpaca"], silent, {"a": 1}, FORMS["sharegpt"])
    examples, notes = read_examples(path, tokenizer, 200)
    assert len(examples) == 2
    assert "train.jsonl: 1 row(s) left out (2): no answer of the assistant" in notes[0]
    assert "train.jsonl: 1 row(s) left out (3): its columns are a" in notes[1]


def test_only_the_assistants_words_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", FORMS["openai"])
    (example,), _ = read_examples(path, tokenizer, 200)
    counted = [t for t, counts in zip(example.tokens, example.counts, strict=True) if counts]
    assert tokenizer.decode(counted[:-1]) == "le chat"
    assert counted[-1] == tokenizer.eos_id


def test_a_file_without_a_usable_row_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"a": 1})
    with pytest.raises(ValueError, match=r"1 row\(s\) left out \(1\): its columns are a"):
        load_dataset(tmp_path, tokenizer, 200)


def test_validation_is_split_off_when_there_is_none(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} ?", "completion": f"réponse {i}"} for i in range(40)]
    write(tmp_path / "train.jsonl", *rows)
    first, second = (load_dataset(tmp_path, tokenizer, 200, valid=0.1) for _ in range(2))
    assert (len(first.train), len(first.valid)) == (36, 4)
    assert first.valid == second.valid
    assert not [example for example in first.valid if example in first.train]
    assert any("4 of the rows in train.jsonl are held out" in note for note in first.notes)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        split_off([], share)


@pytest.mark.parametrize("kind", [{}, {"kind": "support"}], ids=["no kind", "its own kind"])
def test_conversations_of_any_kind_are_drawn(
    tokenizer: Tokenizer, tmp_path: Path, kind: dict[str, str]
) -> None:
    write(tmp_path / "instruct" / "train.jsonl", FORMS["sharegpt"] | kind, FORMS["alpaca"] | kind)
    sources = pretraining_sources(load_corpus(tmp_path), tokenizer, {"chat": 1.0}, 200)
    assert {source.name: source.size for source in sources}["chat"] == 2


def test_a_corpus_reads_every_form_and_names_what_it_cannot(tmp_path: Path) -> None:
    broken = {"messages": [{"role": "narrator", "content": "x"}]}
    path = write(tmp_path / "mine.jsonl", *FORMS.values(), {"a": 1, "b": 2}, broken)
    dropped: Counter[str] = Counter()
    rows = list(read_rows(path, CorpusRecipe(), dropped))
    assert [row.kind for row in rows] == ["chat"] * len(FORMS)
    assert dropped["mine.jsonl: unknown form, columns a, b"] == 1
    assert any("mine.jsonl: messages[0] has the role 'narrator'" in key for key in dropped)
