"""Prompts that read like nothing, and are the same every time."""

from __future__ import annotations

import random


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(10, 300), k=length)
