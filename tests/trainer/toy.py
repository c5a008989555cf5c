"""A small bilingual world: enough text to run the whole pipeline in seconds."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOUNS = {
    "chat": "cat",
    "chien": "dog",
    "voisin": "neighbour",
    "docteur": "doctor",
    "facteur": "postman",
    "boulanger": "baker",
    "cheval": "horse",
    "garçon": "boy",
}
ADJECTIVES = {"petit": "small", "vieux": "old", "grand": "tall", "jeune": "young", "gentil": "kind"}
VERBS = {
    "dort": "sleeps",
    "mange": "eats",
    "chante": "sings",
    "arrive": "arrives",
    "travaille": "works",
    "court": "runs",
}
PLACES = {
    "dans la cuisine": "in the kitchen",
    "au marché": "at the market",
    "près de l'école": "near the school",
    "sur la place": "on the square",
    "à la gare": "at the station",
}


def sentence(rng: random.Random) -> tuple[str, str]:
    """A French sentence and its English translation."""
    noun, adjective = rng.choice(list(NOUNS)), rng.choice(list(ADJECTIVES))
    verb, place = rng.choice(list(VERBS)), rng.choice(list(PLACES))
    french = f"Le {adjective} {noun} {verb} {place}."
    english = f"The {ADJECTIVES[adjective]} {NOUNS[noun]} {VERBS[verb]} {PLACES[place]}."
    return french, english


def write_raw(folder: Path, seed: int = 0) -> None:
    """Raw files with everything the preparation must cope with."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {sentence(rng) for _ in range(1500)}
    lines = ["fr\ten\tdomain\tsource"]
    for i, (french, english) in enumerate(sorted(pairs)):
        lines.append(f"{french}\t{english}\t{('conversational', 'stories')[i % 2]}\ttoy")
    lines += [
        lines[1],
        "Le chat dort.\tThe postman near the school works and sings, all day\tx\ttoy",
    ]
    data = "\n".join(lines).encode() + b"\nLe caf\xe9 ferme.\tThe cafe closes.\tstories\ttoy\n"
    (folder / "pairs.tsv").write_bytes(data)
    write_jsonl(folder / "fr_stories.jsonl.gz", ({"text": text} for text in _stories(rng, 0)))
    write_jsonl(folder / "en_stories.jsonl", ({"text": text} for text in _stories(rng, 1)))
    write_jsonl(folder / "chats.jsonl", (chat_row(rng) for _ in range(300)))


def _stories(rng: random.Random, side: int) -> Iterable[str]:
    for _ in range(60):
        yield "\n".join(sentence(rng)[side] for _ in range(8))


def chat_row(rng: random.Random) -> dict[str, Any]:
    """Small talk and sums, in both languages."""
    a, b = rng.randrange(10), rng.randrange(10)
    language, question, answer = rng.choice(
        [
            ("fr", f"Bonjour, je suis le {rng.choice(list(NOUNS))} numéro {a}.", "Bonjour !"),
            ("en", f"Hello, I am {rng.choice(list(NOUNS.values()))} number {a}.", "Hello!"),
            ("fr", f"Combien font {a} + {b} ?", str(a + b)),
        ]
    )
    kind = "arithmetic" if answer.isdigit() else "small-talk"
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"lang": language, "kind": kind, "source": "toy", "messages": turns}


def write_evaluation(folder: Path) -> None:
    """One small file for every task of the suite."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(99)
    header = "fr\ten\tfr_ca"
    rows = [f"Hier, {f.lower()}\tYesterday, {e.lower()}\tHier, {f.lower()}" for f, e in _pairs(rng)]
    (folder / "mt_toy.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    sets: dict[str, list[dict[str, Any]]] = {
        "perplexity_fr_web": [{"text": f"Demain, {f.lower()}"} for f, _ in _pairs(rng)],
        "reading_fr_test": [_reading(f) for f, _ in _pairs(rng)],
        "quiz_test": [_quiz(i) for i in range(6)],
        "logic_test": [_logic(i) for i in range(4)],
        "arithmetic5_test": [_sum(i) for i in range(6)],
        "word_problems_mgsm": [_sum(i) for i in range(3)],
        "regional_fr_test": [_regional()],
    }
    for name, items in sets.items():
        write_jsonl(folder / f"{name}.jsonl.gz", items)


def _pairs(rng: random.Random) -> list[tuple[str, str]]:
    return [sentence(rng) for _ in range(6)]


def _reading(french: str) -> dict[str, Any]:
    context = f"On raconte ceci au village depuis longtemps : {french}"
    return {"lang": "fr", "context": context, "question": "Qui ?", "answers": [french.split()[2]]}


def _quiz(i: int) -> dict[str, Any]:
    options = ["rouge", "bleu", "vert", "noir"]
    return {"lang": "fr", "question": f"Couleur {i} ?", "options": options, "answer": i % 4}


def _logic(i: int) -> dict[str, Any]:
    question = {"context": f"A{i} > B. B > C.", "question": "Who?", "options": ["A", "B", "C"]}
    return {"lang": "en", **question, "answer": 0}


def _sum(i: int) -> dict[str, Any]:
    return {"lang": "fr", "question": f"Combien font {40 + i} + 11 ?", "answer": str(51 + i)}


def _regional() -> dict[str, Any]:
    answer = "Au Québec, « magasiner » veut dire « faire des achats »."
    return {"lang": "fr", "question": "Que veut dire « magasiner » au Québec ?", "answer": answer}


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Plain or gzip, as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
