"""Everyday prompts and conversations, answered by the model itself, unedited."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

from avikam.trainer.evaluation.subject import Subject, Turns

_ANSWER_TOKENS = 64


def showcase(subject: Subject, limit: int = 48) -> list[tuple[str, str]]:
    """(prompt, greedy answer) of every single prompt."""
    prompts = _read()["prompts"]
    answers = subject.answer(prompts, [limit] * len(prompts), len(prompts), lambda done: None)
    return list(zip(prompts, answers, strict=True))


def showcase_conversations(subject: Subject) -> list[Turns]:
    """Every conversation with the model's own answers, which it sees in its later turns."""
    scripts = _read()["conversations"]
    held: list[Turns] = [[("system", s["system"])] if "system" in s else [] for s in scripts]
    for turn in range(max(len(script["user"]) for script in scripts)):
        speaking = [i for i, script in enumerate(scripts) if turn < len(script["user"])]
        for i in speaking:
            held[i].append(("user", scripts[i]["user"][turn]))
        limits = [_ANSWER_TOKENS] * len(speaking)
        asked = [held[i] for i in speaking]
        answers = subject.reply(asked, limits, len(asked), lambda done: None)
        for i, answer in zip(speaking, answers, strict=True):
            held[i].append(("assistant", answer))
    return held


def _read() -> dict[str, Any]:
    text = files(__package__).joinpath("showcase.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
