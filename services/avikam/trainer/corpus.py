"""The training corpus as a folder lays it out, in memory.

parallel/*train.tsv[.gz]            fr  en  domain  source
mono/<lang>_<domain>.jsonl[.gz]     {lang, domain, split, text}
instruct/*train*.jsonl[.gz]         {lang, kind, messages: [{role, content}]}, or another form of
                                    :mod:`avikam.trainer.conversation_rows`
instruct/translation_prompts.jsonl  {direction, prompt}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from avikam.trainer.conversation_rows import Turns, turns_of
from avikam.trainer.examples import Pair
from avikam.trainer.readers import find, read_jsonl, read_tsv

EVERYDAY = ("conversational", "dialogue", "stories", "news", "health", "terms")
"""Domains of pairs that people also say in a conversation."""
GENERAL = "general"
"""Kind of the conversations that name none."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Running text in one language."""

    text: str
    language: str


@dataclass(slots=True)
class Corpus:
    """Everything of one split, by domain or kind."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    passages: dict[str, list[Passage]] = field(default_factory=dict)
    chats: dict[str, list[Turns]] = field(default_factory=dict)
    prompts: dict[str, list[str]] = field(default_factory=dict)


def load_corpus(folder: Path, split: str = "train") -> Corpus:
    """Read one split of a corpus folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"corpus folder {folder} does not exist; pass --data PATH")
    corpus = Corpus()
    _read_pairs(folder / "parallel", split, corpus)
    _read_passages(folder / "mono", split, corpus)
    _read_chats(folder / "instruct", split, corpus)
    return corpus


def _read_pairs(folder: Path, split: str, corpus: Corpus) -> None:
    names = (split, f"generated_{split}")
    for path in filter(None, (find(folder, name) for name in names)):
        for row in read_tsv(path):
            corpus.pairs.setdefault(row["domain"], []).append(Pair(row["fr"], row["en"]))


def _read_passages(folder: Path, split: str, corpus: Corpus) -> None:
    for path in sorted(folder.glob("*.jsonl*")) if folder.is_dir() else ():
        for row in read_jsonl(path):
            if row["split"] == split:
                passage = Passage(row["text"], row["lang"])
                corpus.passages.setdefault(row["domain"], []).append(passage)


def _read_chats(folder: Path, split: str, corpus: Corpus) -> None:
    names = (split, f"generated_{split}")
    for path in filter(None, (find(folder, name) for name in names)):
        for row in read_jsonl(path):
            kind = row.get("kind") or GENERAL
            corpus.chats.setdefault(kind, []).append(turns_of(row))
    prompts = find(folder, "translation_prompts")
    for row in read_jsonl(prompts) if prompts else ():
        corpus.prompts.setdefault(row["direction"], []).append(row["prompt"])
