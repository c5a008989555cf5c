"""Tables of what people meet: conversations, names and numbers, refusals."""

from __future__ import annotations

from typing import Any

from avikam.trainer.evaluation.tables import table


def conversation_parts(tasks: dict[str, Any]) -> list[str]:
    """A heading and a table for each of these tasks that was measured."""
    parts = []
    for task, title, write in (
        ("conversation", "Translation in a conversation", _conversation),
        ("faithfulness", "Names, numbers, repetitions", _faithfulness),
        ("refusal", "Refusals", _refusal),
    ):
        if tasks.get(task):
            parts += [f"## {title}", write(tasks[task])]
    return parts


def _conversation(scores: dict[str, Any]) -> str:
    """One row per setting, both directions beside each other."""
    to_english, to_french = scores["fr-en"], scores["en-fr"]
    rows = [
        (name, s["bleu"], to_french[name]["bleu"], s["chrf"], to_french[name]["chrf"], s["pairs"])
        for name, s in to_english.items()
    ]
    header = ("setting", "BLEU fr-en", "BLEU en-fr", "chrF fr-en", "chrF en-fr", "pairs")
    return table(header, rows)


def _faithfulness(scores: dict[str, Any]) -> str:
    figures = ("names_kept", "names", "numbers_kept", "numbers", "repeating", "pairs")
    rows = [(direction, *(s[f] for f in figures)) for direction, s in scores.items()]
    return table(("direction", *(f.replace("_", " ") for f in figures)), rows)


def _refusal(scores: dict[str, Any]) -> str:
    whole = scores["all"]
    said = f"Recall {whole['recall']}, precision {whole['precision']}, {whole['items']} requests."
    rows = [(kind, s["refused"], s["items"]) for kind, s in scores.items() if kind != "all"]
    return f"{said}\n\n{table(('kind', 'share refused', 'items'), rows)}"
