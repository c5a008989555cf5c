"""Evaluation sets of a corpus folder as lm-eval tasks.

The folder comes from the command line: ``lm_eval --metadata '{"data": "corpus/"}'``.
"""

from pathlib import Path
from typing import Any

import datasets

_CUES = {"fr": "Réponse :", "en": "Answer:"}


def quiz(data: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``eval/quiz_test``."""
    return _set(Path(data), "quiz_test")


def logic(data: str, **_: Any) -> dict[str, datasets.Dataset]:
    """``eval/logic_test``."""
    return _set(Path(data), "logic_test")


def _set(data: Path, name: str) -> dict[str, datasets.Dataset]:
    files = sorted((data / "eval").glob(f"{name}.jsonl*"))
    if not files:
        raise FileNotFoundError(f"{data / 'eval'} has no {name}.jsonl or {name}.jsonl.gz")
    return {"test": datasets.load_dataset("json", data_files=str(files[0]), split="train")}


def question(item: dict[str, Any]) -> str:
    """The text that an option continues; the same as ``avikam eval``'s plain form."""
    lead = [item["context"]] if item.get("context") else []
    return "\n".join([*lead, item["question"], _CUES[item["lang"]]])
