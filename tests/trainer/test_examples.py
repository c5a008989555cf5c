"""Examples, packing, mixture and schedules: what holds for every input."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.model.tokenizer import CONTROL_TOKENS, Tokenizer
from avikam.trainer.examples import Example, Pair, chat, tagged_translation, translation
from avikam.trainer.mixture import Mixture, Source
from avikam.trainer.packing import PADDING, Batch, pack
from avikam.trainer.schedule import triangular, warm_stable_decay
from tests.trainer.builders import random_example
from tests.trainer.conftest import Pipeline


@pytest.fixture(scope="module")
def tokenizer(pipeline: Pipeline) -> Tokenizer:
    return Tokenizer(pipeline.tokenizer)


hostile = st.lists(st.sampled_from([*CONTROL_TOKENS, "<s>", "</s>", " ", "x", "é"])).map("".join)


@given(text=hostile | st.text())
def test_control_tokens_never_come_from_text(tokenizer: Tokenizer, text: str) -> None:
    assert not set(tokenizer.encode(text)) & tokenizer.control_ids
    example = chat(tokenizer, [("user", text), ("assistant", text)])
    controls = [t for t in example.tokens if t in tokenizer.control_ids]
    names = [tokenizer.piece(t) for t in controls]
    assert names == ["<s>", "<|user|>", "</s>", "<|assistant|>", "</s>"]


def test_only_the_assistant_counts(tokenizer: Tokenizer) -> None:
    example = chat(tokenizer, [("user", "Bonjour"), ("assistant", "Salut")])
    counted = [t for t, c in zip(example.tokens, example.counts, strict=True) if c]
    assert tokenizer.decode(counted, after=tokenizer.bos_id) == "Salut"
    assert counted[-1] == tokenizer.eos_id


def test_a_translation_asks_in_one_direction_and_answers_in_the_other(
    tokenizer: Tokenizer,
) -> None:
    pair = Pair("Le chat dort.", "The cat sleeps.")
    rng = np.random.default_rng(0)
    example = translation(tokenizer, pair, ["Traduis : {s}"], True, rng)
    counted = [t for t, c in zip(example.tokens, example.counts, strict=True) if c]
    assert tokenizer.decode(counted, after=tokenizer.bos_id) == "The cat sleeps."
    assert "Le chat dort." in tokenizer.decode(example.tokens)


def test_the_tagged_form_counts_both_languages_but_no_tag(tokenizer: Tokenizer) -> None:
    example = tagged_translation(tokenizer, Pair("Oui.", "Yes."), to_english=True)
    left_out = [
        tokenizer.piece(t) for t, c in zip(example.tokens, example.counts, strict=True) if not c
    ]
    assert left_out == ["<s>", "[FR]", "[EN]"]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(16, 48))
def test_packing_keeps_examples_whole_and_crosses_no_border(
    seed: int, rows: int, length: int
) -> None:
    rng = random.Random(seed)
    examples = [random_example(rng, rng.randrange(2, 40)) for _ in range(200)]
    drawn = iter(examples)
    batch = pack(drawn, rows, length)
    used = examples[: len(examples) - len(list(drawn))]
    assert batch.tokens.shape == (rows, length)
    documents = _documents(batch)
    whole = sum(document in [e.tokens for e in used] for document in documents)
    cut = [d for d in documents if not any(d == e.tokens[: len(d)] for e in used)]
    assert not cut
    assert whole >= len(documents) - rows
    assert bool((batch.positions == 0)[:, 0].all())
    for row, column in (batch.targets != -100).nonzero().tolist():
        if column + 1 < length:
            assert batch.targets[row, column] == batch.tokens[row, column + 1]
            assert batch.documents[row, column] == batch.documents[row, column + 1]


def _documents(batch: Batch) -> list[list[int]]:
    """What each document of a batch holds, without a row's last token (a target only)."""
    return [
        tokens[documents == number].tolist()
        for tokens, documents in zip(batch.tokens, batch.documents, strict=True)
        for number in range(int(documents.max()) + 1)
    ]


def test_answers_at_the_end_of_examples_are_counted_in_almost_every_case() -> None:
    """Cutting at the end of rows used to lose one answer per row."""
    rng = random.Random(0)
    sizes = [rng.randrange(20, 60) for _ in range(400)]
    examples = [Example([1] * size, [False] * (size - 1) + [True]) for size in sizes]
    drawn = iter(examples)
    batch = pack(drawn, 16, 256)
    used = len(examples) - len(list(drawn))
    assert batch.counted >= used - 3
    assert (batch.documents == PADDING).float().mean() < 0.01


def _sources(sizes: dict[str, tuple[int, float, int]]) -> list[Source]:
    def source(name: str, size: int, weight: float, tokens: int) -> Source:
        def render(index: int, rng: np.random.Generator) -> Example:
            return Example([index] * tokens, [True] * tokens)

        return Source(name, size, weight, render)

    return [source(name, *values) for name, values in sizes.items()]


def test_the_mixture_keeps_shares_of_tokens_not_of_examples() -> None:
    mixture = Mixture(_sources({"short": (50, 0.7, 5), "long": (50, 0.3, 40)}), seed=1)
    for _ in islice(iter(mixture), 3000):
        pass
    tokens = {name: drawn for name, (_, drawn) in mixture.state().items()}
    assert abs(tokens["short"] / sum(tokens.values()) - 0.7) < 0.01


@given(st.integers(0, 400), st.integers(0, 2**16))
def test_a_restored_mixture_goes_on_with_the_very_next_example(drawn: int, seed: int) -> None:
    def fresh() -> Mixture:
        return Mixture(_sources({"a": (7, 0.5, 3), "b": (11, 0.5, 4)}), seed)

    whole: Iterator[Example] = iter(fresh())
    list(islice(whole, drawn))
    first = fresh()
    list(islice(iter(first), drawn))
    resumed = fresh()
    resumed.restore(first.state())
    assert list(islice(iter(resumed), 30)) == list(islice(whole, 30))


def test_each_item_comes_once_per_epoch() -> None:
    mixture = Mixture(_sources({"a": (13, 1.0, 2)}), seed=3)
    epochs = [[e.tokens[0] for e in islice(iter(mixture), 13)] for _ in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(13))] * 2
    assert epochs[0] != epochs[1]


def test_an_empty_mixture_says_so() -> None:
    with pytest.raises(ValueError, match="no source with text"):
        Mixture([], 0)


@given(st.integers(1, 500), st.floats(1e-6, 1.0), st.floats(0.0, 0.5))
def test_the_triangular_rate_rises_then_falls_to_its_minimum(
    total: int, base: float, share: float
) -> None:
    warmup = int(share * total)
    rates = [triangular(step, total, base, base / 10, warmup) for step in range(total + 1)]
    assert max(rates) <= base * (1 + 1e-9)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[-1] == pytest.approx(base / 10)


@given(st.floats(0.0, 1.0))
def test_the_pretraining_rate_stays_between_zero_and_its_peak(progress: float) -> None:
    assert 0.0 <= warm_stable_decay(progress) <= 1.0
