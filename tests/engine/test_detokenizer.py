"""Deltas that join to the text, for every split."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.engine.detokenizer import Detokenizer
from avikam.model.tokenizer import Tokenizer

HARD = "L'été, Noël à l'hôtel 😀👩‍👩‍👧 cœur 𝄞 naïve — 12 €\n日本語 ﬁn"


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer(checkpoint / "tokenizer.model")


def deltas(tokenizer: Tokenizer, tokens: list[int], *stops: str) -> list[str]:
    detokenizer = Detokenizer(tokenizer.stream(10), stops)
    said = []
    for token in tokens:
        said.append(detokenizer.feed(token))
        if detokenizer.stop_match:
            return said
    return [*said, detokenizer.finish()]


def test_joined_deltas_equal_the_full_text_for_1000_random_generations(
    tokenizer: Tokenizer,
) -> None:
    rng = random.Random(3)
    bytes_pieces = [i for i in range(tokenizer.vocab_size) if len(tokenizer.token_bytes[i]) == 1]
    for _ in range(1000):
        tokens = rng.choices(range(tokenizer.vocab_size), k=rng.randint(1, 40))
        tokens += tokenizer.encode(rng.choice(HARD) * 3) + rng.choices(bytes_pieces, k=5)
        rng.shuffle(tokens)
        assert "".join(deltas(tokenizer, tokens)) == tokenizer.decode(tokens, after=10)


def test_no_delta_ends_in_half_a_character(tokenizer: Tokenizer) -> None:
    for character in HARD:
        tokens = tokenizer.encode(character)
        assert all("\ufffd" not in delta for delta in deltas(tokenizer, tokens))


def test_bytes_that_never_become_a_character_are_replaced_at_the_end(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("😀")[:-1]
    said = deltas(tokenizer, tokens)
    assert said[-1] == "\ufffd"
    assert "".join(said[:-1]).strip() == ""


def test_text_of_an_answer_starts_without_the_word_space(tokenizer: Tokenizer) -> None:
    assistant = tokenizer.token_id("<|assistant|>")
    detokenizer = Detokenizer(tokenizer.stream(assistant))
    tokens = tokenizer.encode("Où est la gare ?")
    assert "".join(map(detokenizer.feed, tokens)) == "Où est la gare ?"


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab é", min_size=1, max_size=40),
    st.lists(st.text(alphabet="ab é", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_a_stop_string_ends_the_text_before_it_however_it_is_cut(
    tokenizer: Tokenizer, text: str, stops: list[str]
) -> None:
    tokens = tokenizer.encode(text)
    full = tokenizer.decode(tokens, after=10)
    said = "".join(deltas(tokenizer, tokens, *stops))
    starts = [full.find(stop) for stop in stops if stop in full]
    # The earliest stop wins; one that needs fewer tokens may be met before a longer one.
    if not starts:
        assert said == full
    else:
        assert full.startswith(said)
        assert any(full[len(said) :].startswith(stop) for stop in stops)
        assert not any(stop in said for stop in stops)


def test_self_overlapping_stops_are_found(tokenizer: Tokenizer) -> None:
    tokens = [t for c in "aaab" for t in tokenizer.encode(c)]
    full = tokenizer.decode(tokens, after=10)
    assert full.replace(" ", "") == "aaab"
    stop = full[-5:]
    assert "".join(deltas(tokenizer, tokens, stop)) == full[:-5]
