"""``avikam train``: from text to a checkpoint, one command per step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avikam.cli.recipes import fail_clearly

app = typer.Typer(help="Make a model: export.", no_args_is_help=True, rich_markup_mode=None)

Recipe = Annotated[Path | None, typer.Option(help="YAML recipe.")]
Data = Annotated[Path, typer.Option(help="Corpus folder.")]


@app.command()
def export(
    state: Annotated[Path, typer.Argument(help="state.pt of a training run.")],
    out: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    tokenizer: Annotated[Path, typer.Option(help="SentencePiece file of the run.")],
    data: Data,
    recipe: Recipe = None,
    weights: Annotated[str | None, typer.Option(help="int8, bfloat16 or float32.")] = None,
    sources: Annotated[
        Path | None, typer.Option(help="YAML of data sources and licences for the model card.")
    ] = None,
) -> None:
    """Write a checkpoint: int8 weights, calibration report, model card, manifest."""
    from avikam.trainer.export.export import ExportRecipe, export_checkpoint
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        chosen = load_recipe(ExportRecipe, recipe, weights=weights)
        typer.echo(export_checkpoint(state, tokenizer, data, out, chosen, sources))


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder written by export.")],
    evaluation: Annotated[Path, typer.Option(help="eval.json to quote.")],
) -> None:
    """Write the model card again, with the figures of an evaluation."""
    from avikam.trainer.export.card import refresh_card

    with fail_clearly():
        typer.echo(refresh_card(model, evaluation))
