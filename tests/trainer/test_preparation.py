"""From raw files to a corpus: cleaning, copies, split and leaks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.trainer.corpus import load_corpus
from avikam.trainer.preparation.cleaning import clean
from avikam.trainer.preparation.duplicates import without_duplicates
from avikam.trainer.preparation.intake import read_rows
from avikam.trainer.preparation.prepare import Preparation
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.preparation.rows import Row
from avikam.trainer.preparation.split import side_of
from tests.trainer.commands import avikam
from tests.trainer.toy import write_jsonl


def test_cleaning_keeps_french_typography() -> None:
    assert clean("« L\u2019e\u0301te\u0301\u00a0!\u200b »") == "« L'été ! »"
    assert clean("un\r\n\r\n  deux") == "un\ndeux"


def test_the_strict_regex_is_an_option_that_glues_words() -> None:
    assert clean("Est-ce l'eau, à 3,5 € ?", strip_punctuation=True) == "Estce leau à 35"


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_bad_rows_are_dropped_and_counted_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [
        b"fr\ten\tdomain",
        b"Le chat dort.\tThe cat sleeps.\tstories",
        b"Le caf\xe9.\tThe cafe.\tstories",
        b"A\tThe letter.\tstories",
        b"Oui.\tThis is far too long to be the translation of one word.\tstories",
        "Ceci est une phrase française tout à fait ordinaire.\tEncore une phrase française, "
        "pas du tout anglaise.\tstories".encode(),
    ]
    path.write_bytes(b"\n".join(rows) + b"\n")
    dropped: Counter[str] = Counter()
    kept = list(read_rows(path, CorpusRecipe(), dropped))
    assert [row.parts for row in kept] == [("Le chat dort.", "The cat sleeps.")]
    assert dropped == {
        "not UTF-8": 1,
        "too short": 1,
        "unequal lengths": 1,
        "wrong language": 1,
    }


def test_a_text_without_a_label_is_identified(tmp_path: Path) -> None:
    texts = ["Il faisait froid ce matin-là dans la rue.", "It was cold in the street that morning."]
    write_jsonl(tmp_path / "mixed.jsonl.gz", ({"text": text} for text in texts))
    rows = list(read_rows(tmp_path / "mixed.jsonl.gz", CorpusRecipe(), Counter()))
    assert [row.language for row in rows] == ["fr", "en"]
    assert {row.domain for row in rows} == {"general"}


def test_copies_go_and_similar_short_sentences_stay() -> None:
    long = "il était une fois dans une ville au bord de la mer un vieux marin qui racontait " * 3
    texts = [
        "Tom est là.",
        "tom est là !",
        "Tom était là.",
        long,
        long + " chaque soir",
        "fin " * 30,
    ]
    dropped: Counter[str] = Counter()
    rows = [Row("text", (text,), "fr", "stories") for text in texts]
    kept = [row.parts[0] for row in without_duplicates(rows, CorpusRecipe(), dropped)]
    assert kept == ["Tom est là.", "Tom était là.", long, "fin " * 30]
    assert dropped == {"exact duplicate": 1, "near duplicate": 1}


def test_every_domain_is_split_80_10_10() -> None:
    for domain in ("legal", "stories"):
        rows = [Row("text", (f"texte numéro {i}",), "fr", domain) for i in range(4000)]
        sides = Counter(side_of(row, CorpusRecipe()) for row in rows)
        assert abs(sides["train"] / 4000 - 0.8) < 0.02
        assert abs(sides["valid"] / 4000 - 0.1) < 0.02
        assert abs(sides["test"] / 4000 - 0.1) < 0.02


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_a_document_is_never_on_two_sides(first: str, second: str, group: str) -> None:
    one = Row("text", (first,), "fr", "stories", group="doc " + group)
    other = Row("text", (second,), "fr", "stories", group="doc " + group)
    assert side_of(one, CorpusRecipe()) == side_of(other, CorpusRecipe())


def test_a_planted_leak_is_dropped_and_then_caught_by_the_check(raw: Path, tmp_path: Path) -> None:
    planted = json.loads('{"fr": "Hier, le petit chat dort.", "en": "The leak is here, look."}')
    write_jsonl(tmp_path / "raw" / "more.jsonl", [planted | {"domain": "x"}] * 1)
    sentences = [{"fr": f"Phrase numéro {i} du lot.", "en": f"Row {i} of it."} for i in range(50)]
    write_jsonl(tmp_path / "raw" / "rest.jsonl", sentences)
    evaluation = tmp_path / "eval"
    write_jsonl(evaluation / "mt_small.jsonl", [{"fr": "hier le petit chat dort", "en": "Other."}])
    out = tmp_path / "corpus"
    Preparation(tmp_path / "raw", out, CorpusRecipe(valid=0.0, test=0.0), evaluation).run()
    assert json.loads((out / "report.json").read_text("utf-8"))["dropped"]["leak"] == 1
    assert "x" not in load_corpus(out).pairs
    assert "no training row" in avikam("train", "leaks", out)
    write_jsonl(out / "eval" / "mt_more.jsonl", [{"fr": "Phrase numéro 7 du lot !", "en": "No."}])
    assert "Phrase numéro 7 du lot." in avikam("train", "leaks", out, status=1)


def test_the_same_input_gives_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Preparation(raw / "raw", tmp_path / name, CorpusRecipe(), raw / "eval").run()
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.gz")]
    assert len(files) >= 5
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_wrong_recipe_key_is_named_with_the_nearest_one(raw: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("near_duplicate: 0.9\n", encoding="utf-8")
    printed = avikam("train", "corpus", raw / "raw", tmp_path / "out", "--recipe", recipe, status=2)
    assert "did you mean 'near_duplicates'?" in printed


@pytest.mark.parametrize("shares", [(0.6, 0.5), (1.0, 0.0)])
def test_shares_that_leave_no_training_text_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        CorpusRecipe(valid=shares[0], test=shares[1])
