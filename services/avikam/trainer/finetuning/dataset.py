"""Conversations to fine-tune on: ``train`` and ``valid`` files of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.conversation_rows import RowError, turns_of
from avikam.trainer.examples import Example, chat
from avikam.trainer.preparation.rows import digest
from avikam.trainer.readers import find, read_jsonl


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples of both sides; ``notes`` say what was left out and how validation was chosen."""

    train: list[Example]
    valid: list[Example]
    notes: list[str] = field(default_factory=list)


def load_dataset(folder: Path, tokenizer: Tokenizer, length: int, valid: float = 0.05) -> Dataset:
    """``train.jsonl[.gz]`` in ``folder`` or its ``instruct``, with ``valid.jsonl`` beside it.

    Without a validation file the share ``valid`` of the training rows is held out, chosen by their
    content, so that a resumed run holds out the same. Examples are cut to ``length`` tokens; rows
    in none of the known forms and rows without a trained token are counted and named.
    """
    place = folder if find(folder, "train") else folder / "instruct"
    path, held_out = find(place, "train"), find(place, "valid")
    if path is None:
        raise FileNotFoundError(f"{folder} holds no train.jsonl with conversations")
    train, notes = read_examples(path, tokenizer, length)
    if held_out and next(read_jsonl(held_out), None):
        checked, more = read_examples(held_out, tokenizer, length)
        return Dataset(train, checked, notes + more)
    train, checked = split_off(train, valid)
    notes.append(f"no valid.jsonl: {len(checked)} of the rows in {path.name} are held out")
    return Dataset(train, checked, notes)


def read_examples(path: Path, tokenizer: Tokenizer, length: int) -> tuple[list[Example], list[str]]:
    """The usable rows of a file, and one note per reason for which others were left out.

    ValueError when no row is usable.
    """
    examples: list[Example] = []
    problems: dict[str, list[int]] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            example = _cut(chat(tokenizer, turns_of(row)), length)
        except RowError as error:
            problems.setdefault(str(error), []).append(number)
            continue
        if any(example.counts):
            examples.append(example)
        else:
            reason = f"no answer of the assistant within {length} tokens"
            problems.setdefault(reason, []).append(number)
    notes = [_note(path, reason, rows) for reason, rows in problems.items()]
    if not examples:
        raise ValueError("; ".join(notes) or f"{path} holds no row")
    return examples, notes


def _note(path: Path, reason: str, rows: list[int]) -> str:
    named = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return f"{path.name}: {len(rows)} row(s) left out ({named}): {reason}"


def split_off(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """(training, validation): at least one row on each side.

    ValueError when the share is not between 0 and 1 or there are too few rows.
    """
    if not 0 < share < 1:
        raise ValueError(f"valid is {share}; give a share between 0 and 1, or a valid.jsonl")
    if len(examples) < 2:
        raise ValueError("one conversation cannot be trained on and held out; give two or more")
    order = sorted(range(len(examples)), key=lambda i: digest(str(examples[i].tokens)))
    held = set(order[: max(1, round(share * len(examples)))])
    return (
        [e for i, e in enumerate(examples) if i not in held],
        [examples[i] for i in sorted(held)],
    )


def _cut(example: Example, length: int) -> Example:
    return Example(example.tokens[:length], example.counts[:length])


def epoch_batches(
    examples: list[Example], batch: int, seed: tuple[int, ...]
) -> Iterator[list[Example]]:
    """All examples in an order that ``seed`` decides; the last batch may be smaller."""
    order = np.random.default_rng(seed).permutation(len(examples))
    for start in range(0, len(order), batch):
        yield [examples[i] for i in order[start : start + batch]]
