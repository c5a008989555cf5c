"""One evaluation from paths to files: report.json, report.md and the plots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.model.checkpoint import CARD
from avikam.model.loading import WeightType
from avikam.trainer.evaluation.figures import attention_map, learning_curve
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.report import markdown
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.evaluation.suite import Suite
from avikam.trainer.parallel import use_every_core
from avikam.trainer.tracking import tracked_run

HEAT_MAP_TEXT = "Où est la gare ? Elle est à côté de la poste, juste derrière le grand parc."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Where everything is read from and written to."""

    model: Path
    data: Path
    out: Path
    tokenizer: Path | None = None
    weights: WeightType = "auto"
    device: str = "cpu"
    json: Path | None = None
    metrics: Path | None = None
    attention_layer: int = 0
    track: str | None = None


def evaluate(evaluation: Evaluation, recipe: EvalRecipe) -> Path:
    """Measure, write the report; returns the Markdown file."""
    e = evaluation
    use_every_core()
    subject = load_subject(e.model, e.tokenizer, e.weights, e.device)
    report = Suite(subject, e.data, recipe, e.out).run()
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (e.out / "report.json").write_text(text, encoding="utf-8")
    if e.json:
        e.json.write_text(text, encoding="utf-8")
    plots = [f"![Attention of layer {e.attention_layer}](attention.png)"]
    attention_map(subject, HEAT_MAP_TEXT, e.attention_layer, e.out / "attention.png")
    if e.metrics:
        learning_curve(e.metrics, e.out / "learning_curve.png")
        plots.append("![Learning curve](learning_curve.png)")
    document = e.out / "report.md"
    text = "\n\n".join([markdown(report).rstrip(), "## Plots", *plots]) + "\n"
    document.write_text(text, encoding="utf-8")
    _track(e, report)
    return document


def _track(e: Evaluation, report: dict[str, Any]) -> None:
    with tracked_run(e.track, "avikam-eval", report["model"]) as run:
        run.parameters(report["recipe"] | {"commit": report["commit"], "digest": report["digest"]})
        run.metrics(report["summary"], step=0)
        card = e.model / CARD
        for path in (*sorted(e.out.glob("*.*")), *([card] if card.is_file() else [])):
            run.artifact(path)
