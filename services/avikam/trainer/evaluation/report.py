"""The evaluation as Markdown, for people."""

from __future__ import annotations

from typing import Any

from avikam.trainer.evaluation.conversation_report import conversation_parts
from avikam.trainer.evaluation.tables import table

QUESTIONS = (
    "reading",
    "quiz",
    "quiz-plain",
    "logic",
    "logic-plain",
    "arithmetic",
    "word-problems",
    "regional",
)


def markdown(report: dict[str, Any]) -> str:
    """The whole report."""
    tasks = report["tasks"]
    recipe = report["recipe"]
    intro = (
        f"Model `{report['model']}`, weights {report['weights']}, "
        f"digest `{report['digest'][:16]}`, "
        f"code `{report['commit']}`. Greedy decoding, one user turn: "
        f"`{recipe['to_english']}` and `{recipe['to_french']}`."
    )
    if recipe["limit"]:
        intro += f" **A quick look: at most {recipe['limit']} items of each set or domain.**"
    parts = [
        "# Evaluation",
        intro,
        "## Summary",
        table(("figure", "value"), report["summary"].items()),
    ]
    if tasks.get("translation"):
        parts += ["## Translation, parallel/test", _translation(tasks["translation"])]
    if tasks.get("public-translation"):
        parts += ["## Translation, public sets", _public(tasks["public-translation"])]
    parts += conversation_parts(tasks)
    if tasks.get("perplexity"):
        parts += [
            f"## Perplexity ({recipe['context']} tokens of context)",
            _perplexity(tasks["perplexity"]),
        ]
    if set(QUESTIONS) & set(tasks):
        parts += ["## Questions", _questions(tasks)]
    if "memory" in tasks:
        parts += ["## Memory of training", _memory(tasks["memory"])]
    parts += ["## Speed", table(("figure", "value"), tasks["speed"].items())]
    return "\n\n".join(parts) + "\n"


def _translation(scores: dict[str, Any]) -> str:
    rows = [
        (direction, domain, s["bleu"], s["chrf"], s["pairs"])
        for direction, domains in scores.items()
        for domain, s in domains.items()
    ]
    return table(("direction", "domain", "BLEU", "chrF", "pairs"), rows)


def _public(sets: dict[str, Any]) -> str:
    rows = [
        (name, direction, s["bleu"], s["chrf"], s["pairs"])
        for name, directions in sets.items()
        for direction, s in directions.items()
    ]
    return table(("set", "direction", "BLEU", "chrF", "pairs"), rows)


def _perplexity(splits: dict[str, Any]) -> str:
    rows = [
        (split, language, domain, s["perplexity"], s["bits_per_byte"], s["tokens"])
        for split, languages in splits.items()
        for language, domains in languages.items()
        for domain, s in domains.items()
    ]
    header = ("split", "language", "domain", "perplexity", "bits per byte", "tokens")
    return table(header, rows)


def _questions(tasks: dict[str, Any]) -> str:
    rows = [
        (name, language, score, value, values["items"])
        for name in QUESTIONS
        for language, values in tasks.get(name, {}).items()
        for score, value in values.items()
        if score != "items"
    ]
    return table(("task", "language", "score", "value", "items"), rows)


def _memory(values: dict[str, Any]) -> str:
    shape = values["shape"]
    rows = [
        (setup, f"{held / 2**20:,.0f}", f"{values['computed-7b'][setup] / 2**30:,.1f}")
        for setup, held in values["measured"].items()
    ]
    note = (
        f"One step of {shape['rows']} x {shape['tokens_per_row']} tokens, float32, "
        f"LoRA rank {shape['rank']}, every layer recomputed in the last row. "
        "The 7B column is arithmetic: nothing of that size was run."
    )
    header = ("setup", "this model, measured (MiB)", "avikam1-7b, computed (GiB)")
    return f"{note}\n\n{table(header, rows)}"
