"""``avikam eval``: measure a model and write what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avikam.cli.recipes import fail_clearly

app = typer.Typer(
    help="Measure a model: translation, perplexity, questions.", rich_markup_mode=None
)

Model = Annotated[Path, typer.Option(help="Checkpoint folder, or a training run's state.pt.")]
Data = Annotated[Path, typer.Option(help="Corpus folder with eval/, parallel/ and mono/.")]
Out = Annotated[Path, typer.Option(help="Folder of the report, its plots and the kept results.")]


@app.callback(invoke_without_command=True)
def run(
    data: Data,
    model: Model = Path("models/avikam1-nano"),
    out: Out = Path("runs/eval"),
    tokenizer: Annotated[Path | None, typer.Option(help="Needed with a state.pt.")] = None,
    weights: Annotated[str, typer.Option(help="As a worker's: auto, int8, int4, ...")] = "auto",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    recipe: Annotated[Path | None, typer.Option(help="YAML recipe.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only these tasks.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most N items per set, for a look.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.jsonl of the training run, for the curve.")
    ] = None,
    attention_layer: Annotated[int, typer.Option(help="Layer of the attention heat map.")] = 0,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Recipe setting as key=value; repeatable.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="MLflow folder or server URL.")] = None,
) -> None:
    """Measure a model; a run that was cut off goes on where it stopped."""
    from avikam.trainer.evaluation.recipe import EvalRecipe
    from avikam.trainer.evaluation.run import Evaluation, evaluate
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        tasks = tuple(task) if task else None
        evaluation = Evaluation(
            model=model,
            tokenizer=tokenizer,
            weights=weights,  # type: ignore[arg-type]
            device=device,
            data=data,
            out=out,
            json=json,
            metrics=metrics,
            attention_layer=attention_layer,
            track=track,
        )
        report = evaluate(
            evaluation, load_recipe(EvalRecipe, recipe, sets, tasks=tasks, limit=limit)
        )
    typer.echo(report.read_text(encoding="utf-8"))
