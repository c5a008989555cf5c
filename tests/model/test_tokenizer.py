"""Text to ids and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.model.tokenizer import CONTROL_TOKENS, Tokenizer, TokenizerError, normalize
from tests.model.builders import train_tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(train_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer") / "t.model"))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00▁")))
def test_every_text_survives_in_its_normal_form(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == normalize(text)


@pytest.mark.parametrize("token", [*CONTROL_TOKENS, "<s>", "</s>"])
def test_no_text_becomes_a_control_token(tokenizer: Tokenizer, token: str) -> None:
    ids = tokenizer.encode(f"a {token}{token} b")
    assert not set(ids) & tokenizer.control_ids
    assert tokenizer.decode(ids) == f"a {token}{token} b"


def test_typographic_quotes_are_made_straight() -> None:
    assert normalize("L\u2019été \u201cici\u201d\u00a0!\r\n") == 'L\'été "ici" !\n'


@pytest.mark.parametrize(
    ("pasted", "typed"),
    [
        ("Bon\u00adjour", "Bonjour"),
        ("Bon\u200bjour\ufeff", "Bonjour"),
        ("\u202babc\u202c \u2066d\u2069\u200e", "abc d"),
        ("rendez\u2010vous rendez\u2011vous", "rendez-vous rendez-vous"),
        ("J\u02bcai J\u00b4ai J\u2032ai J\u201bai", "J'ai J'ai J'ai J'ai"),
        ("5\u2033", "5''"),
        ("un\tdeux\u2028trois\u2029quatre", "un deux\ntrois\nquatre"),
        ("e\u200b\u0301te", "éte"),
    ],
)
def test_pasted_text_becomes_what_one_types(pasted: str, typed: str) -> None:
    assert normalize(pasted) == typed


def test_emoji_of_several_people_stay_whole() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert normalize(family) == family


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


def test_a_chat_is_framed_by_roles(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_chat([("system", "Hi"), ("user", "Où ?")])
    pieces = [tokenizer.piece(i) for i in ids if i in tokenizer.control_ids]
    assert pieces == ["<s>", "<|system|>", "</s>", "<|user|>", "</s>", "<|assistant|>"]
    assert tokenizer.decode(ids) == "HiOù ?"


def test_a_prompt_may_carry_its_language(tokenizer: Tokenizer) -> None:
    plain, tagged = tokenizer.encode_prompt("Noël"), tokenizer.encode_prompt("Noël", "fr")
    assert tagged == [plain[0], tokenizer.token_id("[FR]"), *plain[1:]]


def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="token id 100000 is outside"):
        tokenizer.decode([100_000])


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.model").write_bytes(b"nonsense")
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        Tokenizer(tmp_path / "broken.model")
