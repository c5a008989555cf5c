"""What is asked: lines of a file, or generated words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

_WORDS = (
    *("le", "la", "un", "une", "mer", "ville", "matin", "soir", "maison", "enfant", "chemin"),
    *("arbre", "oiseau", "lentement", "souvent", "quand", "the", "a", "harbour", "river"),
    *("morning", "evening", "light", "house", "child", "road", "tree", "bird", "slowly", "often"),
)


def generated_prompts(count: int, words: int, rng: random.Random) -> list[str]:
    """Prompts of so many words, all different in all likelihood: no prefix cache helps."""
    return [" ".join(rng.choices(_WORDS, k=words)) for _ in range(count)]


def prompts_of(file: Path, count: int) -> list[str]:
    """A prompt per line, plain or as ``{"prompt": ...}``; repeated until there are enough.

    Raises OSError, and ValueError for a file without prompts.
    """
    lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    prompts = [_prompt(line, number) for number, line in enumerate(lines, 1) if line]
    if not prompts:
        raise ValueError(f"{file} holds no prompt")
    return _repeated(prompts, count)


def _prompt(line: str, number: int) -> str:
    if not line.startswith("{"):
        return line
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, KeyError):
        raise ValueError(f'line {number} is no JSON object with "prompt"') from None
    return str(prompt)


def _repeated(prompts: Sequence[str], count: int) -> list[str]:
    return [prompts[index % len(prompts)] for index in range(count)]
