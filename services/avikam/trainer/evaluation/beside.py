"""Evaluations side by side: one table per task, one column per score and model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from avikam.trainer.evaluation.report import QUESTIONS
from avikam.trainer.evaluation.tables import table

Reports = dict[str, dict[str, Any]]
"""Reports of ``avikam eval`` by model; a single one's columns do not repeat its name."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A task whose result nests by ``keys`` and then by the names of ``scores``."""

    title: str
    task: str
    keys: tuple[str, ...]
    scores: dict[str, str]


_TRANSLATION = {"bleu": "BLEU", "chrf": "chrF"}
_SECTIONS = (
    _Section("Translation, parallel/test", "translation", ("direction", "domain"), _TRANSLATION),
    _Section("Translation, public sets", "public-translation", ("set", "direction"), _TRANSLATION),
    _Section(
        "Translation in a conversation", "conversation", ("direction", "setting"), _TRANSLATION
    ),
    _Section(
        "Names, numbers, repetitions",
        "faithfulness",
        ("direction",),
        {"names_kept": "names kept", "numbers_kept": "numbers kept", "repeating": "repeating"},
    ),
    _Section(
        "Refusals",
        "refusal",
        ("kind",),
        {"recall": "recall", "precision": "precision", "refused": "share refused"},
    ),
    _Section(
        "Perplexity",
        "perplexity",
        ("split", "language", "domain"),
        {"perplexity": "perplexity", "bits_per_byte": "bits per byte"},
    ),
)


def side_by_side(reports: Reports) -> str:
    """The tables of every task that the first report has; sizes, speed and memory left out."""
    tasks = next(iter(reports.values()))["tasks"]
    parts = [_section(s, reports) for s in _SECTIONS if tasks.get(s.task)]
    if set(QUESTIONS) & set(tasks):
        parts.append(_questions(reports))
    return "\n\n".join(parts)


def _section(section: _Section, reports: Reports) -> str:
    names = [f", {name}" for name in reports] if len(reports) > 1 else [""]
    titles = (title + name for title in section.scores.values() for name in names)
    depth = len(section.keys)
    found = [dict(_leaves(report["tasks"][section.task], depth)) for report in reports.values()]

    def figures(path: tuple[str, ...]) -> list[object]:
        return [leaves.get(path, {}).get(s, "") for s in section.scores for leaves in found]

    rows = [(*path, *figures(path)) for path in found[0]]
    return f"### {section.title}\n\n{table((*section.keys, *titles), rows)}"


def _questions(reports: Reports) -> str:
    found = {name: dict(_answers(r["tasks"])) for name, r in reports.items()}
    rows = [
        (*path, *(values.get(path, "") for values in found.values()))
        for path in next(iter(found.values()))
    ]
    names = reports if len(reports) > 1 else ["value"]
    return f"### Questions\n\n{table(('task', 'language', 'score', *names), rows)}"


def _answers(tasks: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for name in QUESTIONS:
        for (language,), scores in _leaves(tasks.get(name, {}), 1):
            for score, value in scores.items():
                if score not in ("items", "chance"):
                    yield (name, language, score), value


def _leaves(value: dict[str, Any], depth: int) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(path, dictionary) ``depth`` levels below ``value``; ``all`` comes before its parts."""
    if not depth:
        yield (), value
        return
    for key in sorted(value, key=lambda key: key != "all"):
        for path, leaf in _leaves(value[key], depth - 1):
            yield (key, *path), leaf
