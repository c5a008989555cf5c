"""Training the bilingual SentencePiece vocabulary."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import sentencepiece

from avikam.model.tokenizer import CONTROL_TOKENS, normalize
from avikam.trainer.corpus import Corpus


def vocabulary_text(corpus: Corpus, seed: int = 0, prose_share: float = 0.25) -> Iterator[str]:
    """Lines to learn pieces from: all pairs and chats, a part of the prose."""
    rng = random.Random(seed)
    for pairs in corpus.pairs.values():
        for pair in pairs:
            yield from (normalize(pair.french), normalize(pair.english))
    for chats in corpus.chats.values():
        for turns in chats:
            yield from (normalize(content) for _, content in turns)
    for passages in corpus.passages.values():
        for passage in passages:
            if rng.random() < prose_share:
                yield from normalize(passage.text).split("\n")


def train_tokenizer(corpus: Corpus, target: Path, vocab_size: int, seed: int = 0) -> None:
    """Write ``target`` (a ``.model`` file): BPE, byte fallback, digits apart, ``\\n`` a piece.

    A :class:`ValueError` says so when the text is too small for the vocabulary.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".partial")
    try:
        with beside.open("wb") as writer:
            _train(corpus, writer, vocab_size, seed)
    except RuntimeError as error:
        beside.unlink()
        raise ValueError(
            f"no vocabulary of {vocab_size} pieces from this corpus: {error}"
        ) from error
    beside.replace(target)


def _train(corpus: Corpus, writer: BinaryIO, vocab_size: int, seed: int) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=vocabulary_text(corpus, seed),
        model_writer=writer,
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        character_coverage=0.9998,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        control_symbols=list(CONTROL_TOKENS),
        user_defined_symbols=["\n"],
        bos_id=1,
        eos_id=2,
        unk_id=0,
        pad_id=-1,
        max_sentence_length=8000,
        num_threads=2,
        minloglevel=2,
    )
