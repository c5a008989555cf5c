"""Multiple choice by likelihood: the option the model finds most probable as its answer.

The question is put as in training, options lettered A) to D); each ``letter) option`` is scored
as the assistant's whole turn. Without generation there is nothing to parse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import log_likelihoods
from avikam.trainer.readers import find, read_jsonl

LETTERS = "ABCDEFGHIJ"


def score_choices(
    subject: Subject, folder: Path, name: str, limit: int, advance: Advance
) -> dict[str, Any]:
    """{language or "all": {accuracy, chance, items}} of ``eval/<name>``."""
    path = find(folder / "eval", name)
    items = list(read_jsonl(path))[: limit or None] if path else []
    examples = [e for item in items for e in option_examples(subject.tokenizer, item)]
    scores = [s.log_probability for s in log_likelihoods(subject.model, examples, advance=advance)]
    rows: dict[str, list[tuple[float, float]]] = {}
    start = 0
    for item in items:
        count = len(item["options"])
        options = scores[start : start + count]
        right = float(options.index(max(options)) == int(item["answer"]))
        start += count
        for key in ("all", item["lang"]):
            rows.setdefault(key, []).append((right, 1 / count))
    return {key: _summary(values) for key, values in rows.items()}


def _summary(values: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "accuracy": round(sum(right for right, _ in values) / len(values), 4),
        "chance": round(sum(chance for _, chance in values) / len(values), 4),
        "items": len(values),
    }


def lettered(item: dict[str, Any]) -> list[str]:
    """The options as ``A) ...``."""
    return [f"{LETTERS[i]}) {option}" for i, option in enumerate(item["options"])]


def question_with_options(item: dict[str, Any]) -> str:
    """The user turn of an item, in the form the training data use."""
    lead = [item["context"]] if item.get("context") else []
    return "\n".join([*lead, item["question"], *lettered(item)])


def option_examples(tokenizer: Tokenizer, item: dict[str, Any]) -> list[Example]:
    """One example per option; only the assistant's turn is counted."""
    prompt = tokenizer.encode_chat([("user", question_with_options(item))])
    examples = []
    for option in lettered(item):
        answer = [*tokenizer.encode(option), tokenizer.eos_id]
        counts = [False] * len(prompt) + [True] * len(answer)
        examples.append(Example([*prompt, *answer], counts))
    return examples
