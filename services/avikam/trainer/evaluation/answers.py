"""Tasks whose answer is generated: reading, arithmetic, word problems, regional French."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.scores import exact_match, last_number, plain, token_f1
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.readers import find, read_jsonl

Score = Callable[[str, dict[str, Any]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """A file of ``eval/``, the longest answer in tokens, and how an answer is judged."""

    file: str
    limit: int
    score: Score


def _reading(answer: str, item: dict[str, Any]) -> dict[str, float]:
    references = item["answers"]
    return {"exact_match": exact_match(answer, references), "f1": token_f1(answer, references)}


def _number(answer: str, item: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": float(last_number(answer) == last_number(item["answer"]))}


def _regional(answer: str, item: dict[str, Any]) -> dict[str, float]:
    """Right when the expression asked for (the reference's last « ... ») is in the answer."""
    wanted = plain(item["answer"].rpartition("«")[2])
    return {"accuracy": float(f" {wanted} " in f" {plain(answer)} ")}


ANSWER_TASKS = {
    "reading": AnswerTask("reading_fr_test", 48, _reading),
    "arithmetic": AnswerTask("arithmetic5_test", 16, _number),
    "word-problems": AnswerTask("word_problems_mgsm", 256, _number),
    "regional": AnswerTask("regional_fr_test", 48, _regional),
}


def question_of(item: dict[str, Any]) -> str:
    """The user turn of an item, in a form the training data use."""
    if "context" not in item:
        return str(item["question"])
    return f"Contexte : {item['context']}\nQuestion : {item['question']}"


def score_answers(
    subject: Subject, folder: Path, task: AnswerTask, limit: int, batch: int, advance: Advance
) -> dict[str, Any]:
    """{language or "all": {score: mean, items}}."""
    path = find(folder / "eval", task.file)
    items = list(read_jsonl(path))[: limit or None] if path else []
    prompts = [question_of(item) for item in items]
    answers = subject.answer(prompts, [task.limit] * len(items), batch, advance)
    rows: dict[str, list[dict[str, float]]] = {}
    for item, answer in zip(items, answers, strict=True):
        for key in ("all", item.get("lang", "fr")):
            rows.setdefault(key, []).append(task.score(answer, item))
    return {key: _means(values) for key, values in rows.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    means = {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}
    return means | {"items": len(rows)}
