"""Conversations to fine-tune on: ``train`` and ``valid`` files of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.examples import Example, chat, is_answerable
from avikam.trainer.readers import find, read_jsonl


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples of both sides."""

    train: list[Example]
    valid: list[Example]


def load_dataset(folder: Path, tokenizer: Tokenizer, length: int) -> Dataset:
    """``<side>.jsonl[.gz]`` with ``messages``, in ``folder`` or its ``instruct``.

    Examples are cut to ``length`` tokens; those whose answer is cut away are left out.
    """
    place = folder if find(folder, "train") else folder / "instruct"
    sides = {}
    for side in ("train", "valid"):
        path = find(place, side)
        if path is None:
            raise FileNotFoundError(f"{folder} holds no {side}.jsonl with conversations")
        turns = ([(m["role"], m["content"]) for m in row["messages"]] for row in read_jsonl(path))
        examples = (_cut(chat(tokenizer, turn), length) for turn in turns)
        sides[side] = [e for e in examples if is_answerable(tokenizer, e)]
        if not sides[side]:
            raise ValueError(f"{path} holds no conversation with an answer of the assistant")
    return Dataset(sides["train"], sides["valid"])


def _cut(example: Example, length: int) -> Example:
    return Example(example.tokens[:length], example.counts[:length])


def epoch_batches(
    examples: list[Example], batch: int, seed: tuple[int, ...]
) -> Iterator[list[Example]]:
    """All examples in an order that ``seed`` decides; the last batch may be smaller."""
    order = np.random.default_rng(seed).permutation(len(examples))
    for start in range(0, len(order), batch):
        yield [examples[i] for i in order[start : start + batch]]
