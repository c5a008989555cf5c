"""MODEL_CARD.md: what the model is, from what it was made, how good it is, in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from avikam.model.checkpoint import CARD
from avikam.model.config import ModelConfig
from avikam.model.manifest import write_manifest
from avikam.trainer.evaluation.beside import side_by_side
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.evaluation.tables import table
from avikam.trainer.export.showcase import showcase, showcase_conversations

FACTS = "export.json"
"""Beside the weights: everything the card states, so that it can be written again."""


def read_sources(path: Path | None) -> dict[str, Any]:
    """The data sources of a card, its description and ``limits`` of use; nothing without a file."""
    described = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {"sources": []}
    for source in described.get("sources", []):
        missing = {"name", "repository", "licence"} - set(source)
        if missing:
            raise ValueError(f"source {source.get('name', source)} lacks {sorted(missing)[0]!r}")
    return dict(described)


def refresh_card(folder: Path, evaluation: Path, baseline: Path | None = None) -> str:
    """Ask the model again and write the card, with the figures of an ``eval.json``.

    Those of ``baseline``, another model's, stand beside them.
    """
    facts_file = folder / FACTS
    if not facts_file.exists():
        raise FileNotFoundError(f"{facts_file} is missing; write the checkpoint with train export")
    facts = json.loads(facts_file.read_text(encoding="utf-8"))
    report, other = (
        json.loads(path.read_text(encoding="utf-8")) if path else None
        for path in (evaluation, baseline)
    )
    write_manifest(folder)  # the evaluation may be a file of the folder, newer than its sum
    subject = load_subject(folder)
    facts["answers"], facts["conversations"] = showcase(subject), showcase_conversations(subject)
    facts_file.write_text(facts_text(facts), encoding="utf-8")
    config = ModelConfig.from_file(folder / "config.json")
    (folder / CARD).write_text(model_card(config, facts, report, other), encoding="utf-8")
    write_manifest(folder)
    return f"{folder / CARD} quotes {evaluation}"


def facts_text(facts: dict[str, Any]) -> str:
    """The facts as they are kept beside the weights."""
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def model_card(
    config: ModelConfig,
    facts: dict[str, Any],
    evaluation: dict[str, Any] | None = None,
    baseline: dict[str, Any] | None = None,
) -> str:
    """The card as Markdown."""
    parts = [f"# {config.name}", _introduction(config, facts)]
    parts += ["## Use and limits", facts["sources"].get("limits") or _NOT_SAID]
    parts += ["## Answers", _answers(facts)]
    if facts.get("conversations"):
        parts += ["## Conversations", _conversations(facts)]
    parts += ["## Training", _training(facts)]
    if facts.get("calibration"):
        parts += ["## Int8", _calibration(facts["calibration"])]
    if evaluation:
        parts += ["## Evaluation", _evaluation(evaluation, baseline)]
    parts += ["## Data and licences", _sources(facts["sources"])]
    return "\n\n".join(parts) + "\n"


_NOT_SAID = (
    "Nobody has said what this model may be used for. A model of this size knows few facts and may "
    "state wrong ones fluently; do not use it for medical, legal or safety decisions."
)
_NO_SOURCES = "The sources of the data were not stated when the model was exported (`--sources`)."


def _introduction(config: ModelConfig, facts: dict[str, Any]) -> str:
    full = config.layer_types.count("full")
    layers = f"{config.num_layers} layers" + (f" ({full} of them dense)" if full else "")
    return (
        f"A bilingual French/English language model of {config.parameter_count():,} parameters: "
        f"{layers}, hidden size {config.hidden_size}, {config.num_heads} heads, vocabulary "
        f"{config.vocab_size:,}, context {config.max_positions} tokens, attention "
        f"FG({config.window}, {config.stride}). Weights are stored as {facts['weights']}."
    )


def _answers(facts: dict[str, Any]) -> str:
    rows = [(_cell(prompt), _cell(answer)) for prompt, answer in facts["answers"]]
    return f"The model's own answers, unedited (greedy, {facts['weights']} weights).\n\n" + table(
        ("prompt", "answer"), rows
    )


def _conversations(facts: dict[str, Any]) -> str:
    """Each conversation as a quotation; the user's turns are given, the model's are its own."""
    said = "The user's turns are fixed; every answer is the model's own, unedited, right or wrong."
    names = {"system": "System", "user": "User", "assistant": "Model"}
    told = [
        "\n".join(f"> **{names[role]}:** {_cell(text)}<br>" for role, text in turns)
        for turns in facts["conversations"]
    ]
    return "\n\n".join([said, *told])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>") or "*(empty)*"


def _training(facts: dict[str, Any]) -> str:
    last = facts["training"]
    runs: list[dict[str, Any]] = [*last.get("earlier", []), last]
    text = f"Trained from scratch: {_run(runs[0])}."
    text += "".join(f" Then on from those weights, as stored: {_run(run)}." for run in runs[1:])
    if last.get("averaged"):
        text += f" The weights are averaged: {last['averaged']}."
    if facts.get("adapter"):
        text += f" The adapter {facts['adapter']} is merged into the weights."
    return text


def _run(run: dict[str, Any]) -> str:
    minutes = run["seconds"] / 60
    return f"{run['steps']:,} steps, {run['tokens']:,} tokens, {minutes:.0f} minutes"


def runs_behind(folder: Path) -> list[dict[str, int]]:
    """The training runs that a checkpoint's facts tell of, the oldest first."""
    facts_file = folder / FACTS
    if not facts_file.exists():
        return []
    training = dict(json.loads(facts_file.read_text(encoding="utf-8"))["training"])
    training.pop("averaged", None)
    return [*training.pop("earlier", []), training]


def _calibration(calibration: dict[str, Any]) -> str:
    worst = ", ".join(f"`{n}` {100 * e:.2f} %" for n, e in calibration["worst_matrices"].items())
    return (
        "One scale per output row; activations and attention run in int8 too. On "
        f"{calibration['tokens']:,} held-out tokens: perplexity "
        f"{calibration['perplexity_float32']} in float32, {calibration['perplexity_int8']} in int8 "
        f"({calibration['cost_percent']:+.2f} %). Largest relative errors of a matrix: {worst}."
    )


def _evaluation(report: dict[str, Any], baseline: dict[str, Any] | None) -> str:
    """Every row, beside the baseline's where there is one."""
    reports = {report["model"]: report}
    text = (
        f"Measured by `avikam eval` (code `{report['commit']}`); `eval.json` has every figure and "
        f"the number of items behind it{_quick(report)}."
    )
    if baseline:
        reports[_other_name(baseline["model"], report["model"])] = baseline
        text += (
            f" Beside it stands a baseline, `{baseline['model']}`, weights {baseline['weights']}, "
            f"digest `{baseline['digest'][:16]}`, code `{baseline['commit']}`"
            f"{_quick(baseline)}."
        )
    summary = [
        (name, *(each["summary"].get(name, "") for each in reports.values()))
        for name in report["summary"]
    ]
    parts = [text, side_by_side(reports)]
    if summary:
        names = reports if baseline else ["value"]
        parts.append(f"### Summary\n\n{table(('figure', *names), summary)}")
    return "\n\n".join(filter(None, parts))


def _other_name(name: str, taken: str) -> str:
    return name if name != taken else f"{name} (baseline)"


def _quick(report: dict[str, Any]) -> str:
    limit = report["recipe"]["limit"]
    return f", at most {limit} items of each set or domain" if limit else ""


def _sources(described: dict[str, Any]) -> str:
    if not described["sources"]:
        return _NO_SOURCES
    rows = [
        (s["name"], s["repository"], s.get("commit", ""), s["licence"], s.get("used_for", ""))
        for s in described["sources"]
    ]
    header = ("source", "repository", "commit", "licence", "used for")
    return f"{described.get('description', '')}\n\n{table(header, rows)}".strip()
