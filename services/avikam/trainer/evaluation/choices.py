"""Multiple choice by likelihood: the option the model finds most probable as its answer.

Without generation there is nothing to parse. A question is put in one of two forms:

chat    as in training: a user turn with lettered options; ``letter) option`` is scored as the
        assistant's whole turn.
plain   as running text ending in ``Answer:``; the bare option is scored as its continuation. This
        is the form of lm-eval's ``multiple_choice``, so that its score through a server can be
        compared with ours (``recipes/lm-eval``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.examples import Example
from avikam.trainer.readers import find, read_jsonl

LETTERS = "ABCDEFGHIJ"
_CUES = {"fr": "Réponse :", "en": "Answer:"}

OptionExamples = Callable[[Tokenizer, dict[str, Any]], list[Example]]


def score_choices(
    subject: Subject,
    folder: Path,
    name: str,
    limit: int,
    advance: Advance,
    form: OptionExamples,
) -> dict[str, Any]:
    """{language or "all": {accuracy, chance, items}} of ``eval/<name>``."""
    path = find(folder / "eval", name)
    items = list(read_jsonl(path))[: limit or None] if path else []
    examples = [example for item in items for example in form(subject.tokenizer, item)]
    scores = [each.log_probability for each in subject.log_likelihoods(examples, advance)]
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
    return "\n".join([*_lead(item), item["question"], *lettered(item)])


def question_with_cue(item: dict[str, Any]) -> str:
    """The text that an option continues in the plain form."""
    return "\n".join([*_lead(item), item["question"], _CUES[item["lang"]]])


def _lead(item: dict[str, Any]) -> list[str]:
    return [item["context"]] if item.get("context") else []


def chat_options(tokenizer: Tokenizer, item: dict[str, Any]) -> list[Example]:
    """One example per option; only the assistant's turn is counted."""
    prompt = tokenizer.encode_chat([("user", question_with_options(item))])
    answers = ([*tokenizer.encode(option), tokenizer.eos_id] for option in lettered(item))
    return [_continued(prompt, answer) for answer in answers]


def plain_options(tokenizer: Tokenizer, item: dict[str, Any]) -> list[Example]:
    """One example per option; what encodes beyond the question is counted, as lm-eval does."""
    question = question_with_cue(item)
    asked = len(tokenizer.encode(question))
    texts = (tokenizer.encode(f"{question} {option}") for option in item["options"])
    return [_continued(tokens[:asked], tokens[asked:]) for tokens in texts]


def _continued(prompt: list[int], answer: list[int]) -> Example:
    return Example([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))
