"""Conversations as a file of rows, to look at or to fine-tune on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avikam.trainer.conversations.chance import one_of
from avikam.trainer.conversations.phrasebook import LANGUAGES
from avikam.trainer.conversations.sources import composer, conversation_makers, everyday_pool
from avikam.trainer.corpus import Corpus, load_corpus
from avikam.trainer.recipe import recipe


def _shares() -> dict[str, float]:
    return {
        "conversations": 0.4,
        "free-requests": 0.25,
        "several-sentences": 0.08,
        "copying": 0.12,
        "refusals": 0.1,
        "small-talk": 0.05,
    }


@recipe
class ConversationsRecipe:
    """How many conversations of which kind; ``valid`` of them come from validation pairs."""

    train: int = 20000
    valid: int = 500
    seed: int = 0
    shares: dict[str, float] = field(default_factory=_shares)


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were written and how many rows of each kind they hold."""

    files: list[Path]
    kinds: dict[str, int]


def write_conversations(data: Path, out: Path, chosen: ConversationsRecipe) -> Written:
    """``train.jsonl`` from the corpus's training pairs, ``valid.jsonl`` from its validation pairs.

    ValueError when the corpus has no everyday pairs or a share is none of the kinds.
    """
    out.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, int] = dict.fromkeys(chosen.shares, 0)
    files = []
    for split, count in (("train", chosen.train), ("valid", chosen.valid)):
        if not count:
            continue
        path = out / f"{split}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for row in _rows(load_corpus(data, split), count, chosen, data):
                kinds[row["kind"]] += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        files.append(path)
    return Written(files, kinds)


def _rows(
    corpus: Corpus, count: int, chosen: ConversationsRecipe, data: Path
) -> Iterator[dict[str, Any]]:
    pool = everyday_pool(corpus)
    if not pool:
        raise ValueError(f"{data} has no sentence pairs of an everyday domain in parallel/")
    makers = conversation_makers(composer(corpus, pool))
    names, weights = _known_shares(chosen, list(makers))
    rng = np.random.default_rng(chosen.seed)
    for _ in range(count):
        kind = names[int(rng.choice(len(names), p=weights))]
        turns = makers[kind](rng, one_of(rng, pool), one_of(rng, LANGUAGES))
        messages = [{"role": role, "content": content} for role, content in turns]
        yield {"kind": kind, "messages": messages}


def _known_shares(chosen: ConversationsRecipe, known: list[str]) -> tuple[list[str], np.ndarray]:
    unknown = [name for name in chosen.shares if name not in known]
    if unknown:
        raise ValueError(f"no conversation is named {unknown[0]!r}; shares take {', '.join(known)}")
    weights = np.array(list(chosen.shares.values()), dtype=float)
    if weights.sum() <= 0:
        raise ValueError("all shares are 0; give at least one kind a share")
    return list(chosen.shares), weights / weights.sum()
