"""Pairs that the model makes itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.backtranslation import copied_words, round_trip_quality
from avikam.trainer.corpus import load_corpus
from avikam.trainer.sources import pretraining_sources
from tests.trainer.commands import avikam
from tests.trainer.conftest import Pipeline


def test_good_round_trips_become_pairs_and_poor_ones_do_not(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    data = tmp_path / "corpus"
    shutil.copytree(pipeline.corpus, data)
    recipe = pipeline.recipe("backtranslation", {"round_trip": 80, "sentences": 40, "chunk": 16})
    printed = avikam("train", "backtranslate", pipeline.model, data, "--recipe", recipe)
    pairs = load_corpus(data).pairs
    made = [*pairs["backtranslated-fr"], *pairs["backtranslated-en"]]
    assert f"kept {len(made)}" in printed
    assert all(pair.french.startswith("L") and pair.english.startswith("The") for pair in made)
    stories = {line for p in load_corpus(data).passages["stories"] for line in p.text.split("\n")}
    assert all(pair.french in stories for pair in pairs["backtranslated-fr"])
    assert all(pair.english in stories for pair in pairs["backtranslated-en"])
    sources = pretraining_sources(
        load_corpus(data), Tokenizer(pipeline.tokenizer), {"generated-pairs": 1.0}, 64
    )
    assert {s.name: s.size for s in sources}["generated-pairs"] == len(made)
    assert not list((data / "parallel").glob(".backtranslation-*"))


def test_a_second_run_adds_to_the_first(pipeline: Pipeline, tmp_path: Path) -> None:
    data = tmp_path / "corpus"
    shutil.copytree(pipeline.corpus, data)
    recipe = pipeline.recipe("few", {"round_trip": 50, "sentences": 12, "chunk": 8})
    words = ("train", "backtranslate", pipeline.model, data, "--recipe", recipe)
    made = []
    for _ in range(2):
        avikam(*words)
        pairs = load_corpus(data).pairs
        made.append([*pairs.get("backtranslated-fr", []), *pairs.get("backtranslated-en", [])])
    first, second = made
    assert first
    assert all(pair in second for pair in first)
    assert len(second) > len(first)
    assert len({(pair.french, pair.english) for pair in second}) == len(second)


def test_words_left_untranslated_are_found() -> None:
    known = {"they", "lead", "the", "important"}
    assert copied_words("Ils mènent les vaches.", "They lead the vaches.", known) == {"vaches"}
    assert not copied_words("Traoré est important.", "Traoré is important.", known)


def test_a_round_trip_is_judged_by_its_characters() -> None:
    assert round_trip_quality("Le chat dort.", "Le chat dort.") == 100
    assert round_trip_quality("Le chat dort.", "Il fait beau.") < 30
