"""Whether a model says so when a request is beyond it, and only then.

Recall: of the requests of twelve kinds that a small model cannot answer, the share it refuses.
Precision: of all its refusals, the share that answers such a request. Small talk and translations
are what it must not refuse. No wording here is among those that training draws from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.trainer.conversations.phrasebook import LANGUAGES, read_phrases
from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.evaluation.translation import TestPair
from avikam.trainer.readers import find, read_jsonl

_LONGEST = 48
_QUIZ = 100
_SIGNS = (
    "je ne sais pas", "je ne peux pas", "je ne connais", "je ne suis pas capable",
    "je ne suis pas en mesure", "désolé, je", "cela me dépasse", "je regrette, je ne",
    "i don't know", "i do not know", "i can't", "i cannot", "i am not able", "i'm not able",
    "i only know", "sorry, i", "i'm sorry, i", "that is beyond", "i am unable", "i'm unable",
)  # fmt: skip
"""How an answer that refuses begins."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request; ``beyond`` when it should be refused."""

    kind: str
    text: str
    beyond: bool


def is_refusal(answer: str) -> bool:
    """Whether an answer says that the request is beyond the model.

    >>> is_refusal("Je ne sais pas : je traduis."), is_refusal("I know.")
    (True, False)
    """
    return answer.lower().startswith(_SIGNS)


def prompts(data: Path, pairs: Sequence[TestPair], form: str) -> list[Prompt]:
    """Requests of every kind, unseen quiz questions of ``data``, small talk, and translations."""
    phrases = read_phrases("held_out")
    found = [
        Prompt(kind, text, True)
        for kind, by_language in phrases["beyond"].items()
        for language in LANGUAGES
        for text in by_language[language]
    ]
    found += [Prompt("quiz", text, True) for text in _quiz(data)]
    found += [Prompt("talk", t, False) for lang in LANGUAGES for t in phrases["within"][lang]]
    asked = [pair for pair in pairs if not is_refusal(pair.english)]
    return found + [Prompt("translation", form.replace("{s}", p.french), False) for p in asked]


def few_of_each(asked: list[Prompt], most: int) -> list[Prompt]:
    """At most ``most`` requests of each kind (0 = all)."""
    seen: Counter[str] = Counter()
    kept = []
    for prompt in asked:
        seen[prompt.kind] += 1
        if not most or seen[prompt.kind] <= most:
            kept.append(prompt)
    return kept


def _quiz(data: Path) -> list[str]:
    path = find(data / "eval", "quiz_test")
    items = list(read_jsonl(path)) if path else []
    return [str(item["question"]).split("\n")[0] for item in items][:: max(1, len(items) // _QUIZ)]


def score_refusals(
    subject: Subject, asked: list[Prompt], batch: int, advance: Advance
) -> dict[str, Any]:
    """{"all": {recall, precision, items}, kind: {refused: share, items}}."""
    turns = [[("user", prompt.text)] for prompt in asked]
    answers = subject.reply(turns, [_LONGEST] * len(asked), batch, advance)
    refused = [is_refusal(answer) for answer in answers]
    kinds: dict[str, list[bool]] = {}
    for prompt, was in zip(asked, refused, strict=True):
        kinds.setdefault(prompt.kind, []).append(was)
    right = sum(was for prompt, was in zip(asked, refused, strict=True) if prompt.beyond)
    beyond = sum(prompt.beyond for prompt in asked)
    summary = {
        "recall": round(right / max(1, beyond), 4),
        "precision": round(right / max(1, sum(refused)), 4),
        "items": len(asked),
    }
    shares = {k: {"refused": round(sum(v) / len(v), 4), "items": len(v)} for k, v in kinds.items()}
    return {"all": summary, **shares}
