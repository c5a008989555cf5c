"""``avikam train``: from text to a checkpoint, one command per step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avikam.cli.recipes import fail_clearly

app = typer.Typer(
    help="Make a model, from raw text to a checkpoint.", no_args_is_help=True, rich_markup_mode=None
)

Recipe = Annotated[Path | None, typer.Option(help="YAML recipe.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Recipe setting as key=value; repeatable.")
]
Steps = Annotated[int | None, typer.Option(help="End after so many steps.")]
Minutes = Annotated[float | None, typer.Option(help="End after so many minutes of training.")]
Tokenizer = Annotated[Path, typer.Option(help="SentencePiece file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Track = Annotated[str | None, typer.Option(help="MLflow folder or server URL.")]
Data = Annotated[Path, typer.Option(help="Corpus folder.")]


@app.command()
def corpus(
    raw: Annotated[Path, typer.Argument(help="Folder of .jsonl and .tsv files, plain or .gz.")],
    out: Annotated[Path, typer.Argument(help="Corpus folder to write.")],
    evaluation: Annotated[
        Path | None, typer.Option(help="Evaluation sets that must not leak into training.")
    ] = None,
    recipe: Recipe = None,
    sets: Set = None,
) -> None:
    """Clean, deduplicate, label and split raw text; drop what leaks; report."""
    from avikam.trainer.preparation.prepare import Preparation
    from avikam.trainer.preparation.recipe import CorpusRecipe
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        report = Preparation(raw, out, load_recipe(CorpusRecipe, recipe, sets), evaluation).run()
    typer.echo(report.read_text(encoding="utf-8"))


@app.command("all")
def everything(
    raw: Annotated[Path, typer.Argument(help="Folder of .jsonl and .tsv files, plain or .gz.")],
    out: Annotated[Path, typer.Argument(help="Folder for all that is made.")],
    recipe: Recipe = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Evaluation sets that must not leak into training.")
    ] = None,
    device: Device = "auto",
    sets: Set = None,
) -> None:
    """Every step in a row: corpus, vocabulary, pretraining, export, adapter, evaluation."""
    from avikam.trainer.everything import Everything, EverythingRecipe
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        chosen = load_recipe(EverythingRecipe, recipe, sets)
        typer.echo(Everything(raw, out, chosen, evaluation, device).run())


@app.command()
def leaks(data: Annotated[Path, typer.Argument(help="Corpus folder with eval/.")]) -> None:
    """Check that no training row holds evaluation text; exit status 1 when one does."""
    from avikam.trainer.preparation.prepare import LeakError, check_leaks

    with fail_clearly():
        try:
            typer.echo(check_leaks(data))
        except LeakError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


@app.command()
def tokenizer(
    data: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[Path, typer.Argument(help="Folder for tokenizer-<size>.model and the table.")],
    size: Annotated[list[int] | None, typer.Option(help="Vocabulary size; repeatable.")] = None,
) -> None:
    """Train vocabularies and compare their fertility in French and English."""
    from avikam.trainer.corpus import load_corpus
    from avikam.trainer.tokenizer_report import train_vocabularies

    with fail_clearly():
        train, valid = load_corpus(data), load_corpus(data, "valid")
        document = train_vocabularies(train, valid, out, size or [4000, 8000, 16000])
    typer.echo(document.read_text(encoding="utf-8"))


@app.command()
def conversations(
    data: Annotated[Path, typer.Argument(help="Corpus folder with sentence pairs.")],
    out: Annotated[Path, typer.Argument(help="Folder for train.jsonl and valid.jsonl.")],
    recipe: Recipe = None,
    train: Annotated[int | None, typer.Option(help="Conversations to make for training.")] = None,
    valid: Annotated[int | None, typer.Option(help="Conversations to make for validation.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, other conversations.")] = None,
    sets: Set = None,
) -> None:
    """Make conversations of sentence pairs: what pretraining draws, as rows of a file."""
    from avikam.trainer.conversations.writing import ConversationsRecipe, write_conversations
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        chosen = load_recipe(ConversationsRecipe, recipe, sets, train=train, valid=valid, seed=seed)
        written = write_conversations(data, out, chosen)
    for kind, count in written.kinds.items():
        typer.echo(f"{kind}: {count}")
    for path in written.files:
        typer.echo(str(path))


@app.command()
def pretrain(
    data: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[Path, typer.Argument(help="Run folder; an existing run goes on.")],
    tokenizer: Tokenizer,
    recipe: Recipe = None,
    device: Device = "auto",
    track: Track = None,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint folder to begin with, not random weights.")
    ] = None,
    steps: Steps = None,
    minutes: Minutes = None,
    sets: Set = None,
) -> None:
    """Train from scratch, or on from a checkpoint; under torchrun on several processes."""
    from avikam.trainer.pretrain import PretrainConfig
    from avikam.trainer.pretrain_command import PretrainPaths, pretrain
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        paths = PretrainPaths(data, tokenizer, out, start)
        chosen = load_recipe(PretrainConfig, recipe, sets, steps=steps, minutes=minutes)
        written = pretrain(paths, chosen, device, track)
    if written:
        typer.echo(written)


@app.command()
def backtranslate(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: Annotated[Path, typer.Argument(help="Corpus folder; gains generated pairs.")],
    recipe: Recipe = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    sets: Set = None,
) -> None:
    """Make sentence pairs out of running text with the model itself; keep good round trips."""
    from avikam.trainer.backtranslation import Backtranslation, BacktranslationRecipe
    from avikam.trainer.evaluation.subject import load_subject
    from avikam.trainer.parallel import use_every_core
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        use_every_core()
        chosen = load_recipe(BacktranslationRecipe, recipe, sets)
        typer.echo(Backtranslation(load_subject(model, device=device), data, chosen).run())


@app.command()
def finetune(
    base: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: Annotated[Path, typer.Argument(help="Folder with train.jsonl, perhaps valid.jsonl.")],
    out: Annotated[Path, typer.Argument(help="Adapter folder; an existing run goes on.")],
    recipe: Recipe = None,
    device: Device = "auto",
    track: Track = None,
    steps: Steps = None,
    minutes: Minutes = None,
    sets: Set = None,
) -> None:
    """Train a LoRA adapter in two phases; the result loads in a worker and in PEFT."""
    from avikam.trainer.finetuning.command import FinetunePaths, finetune
    from avikam.trainer.finetuning.recipe import FinetuneRecipe
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        paths = FinetunePaths(base, data, out)
        chosen = load_recipe(FinetuneRecipe, recipe, sets, steps=steps, minutes=minutes)
        typer.echo(finetune(paths, chosen, device, track))


@app.command()
def ablate(
    data: Annotated[Path, typer.Argument(help="Corpus folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of the runs; finished ones are kept.")],
    tokenizer: Tokenizer,
    recipe: Recipe = None,
    page: Annotated[Path, typer.Option(help="Page to write.")] = Path(
        "docs/benchmarks/ablation.md"
    ),
    steps: Steps = None,
    minutes: Minutes = None,
    sets: Set = None,
) -> None:
    """Compare attention patterns and feed-forward forms at equal size and data."""
    from avikam.trainer.ablation.compare import ablate
    from avikam.trainer.ablation.recipe import AblationRecipe
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        ends = {"training.steps": steps, "training.minutes": minutes}
        ends_sets = [f"{key}={value}" for key, value in ends.items() if value is not None]
        chosen = load_recipe(AblationRecipe, recipe, [*(sets or ()), *ends_sets])
        typer.echo(ablate(data, tokenizer, out, chosen, page))


@app.command()
def average(
    out: Annotated[Path, typer.Argument(help="State to write, for export or eval.")],
    states: Annotated[list[Path], typer.Argument(help="state.pt files of one model.")],
    base: Annotated[
        Path | None, typer.Option(help="Checkpoint folder to mix the mean with.")
    ] = None,
    share: Annotated[float, typer.Option(help="Part of the states in the mixture, 0..1.")] = 1.0,
) -> None:
    """Average weights: late states of a run, or a run with what it began from."""
    from avikam.trainer.averaging import average as average_states

    with fail_clearly():
        typer.echo(average_states(states, out, base, share))


@app.command()
def export(
    state: Annotated[Path, typer.Argument(help="state.pt of a training run.")],
    out: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    tokenizer: Tokenizer,
    data: Data,
    recipe: Recipe = None,
    weights: Annotated[str | None, typer.Option(help="int8, bfloat16 or float32.")] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Adapter to merge; without it a worker loads adapters by itself."),
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="YAML of data sources and licences for the model card.")
    ] = None,
    track: Track = None,
    sets: Set = None,
) -> None:
    """Write a checkpoint: int8 weights, calibration report, model card, manifest."""
    from avikam.trainer.export.export import ExportPaths, ExportRecipe, export_checkpoint
    from avikam.trainer.recipe import load_recipe

    with fail_clearly():
        chosen = load_recipe(ExportRecipe, recipe, sets, weights=weights)
        paths = ExportPaths(state, tokenizer, data, out, adapter, sources)
        typer.echo(export_checkpoint(paths, chosen, track))


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder written by export.")],
    evaluation: Annotated[Path, typer.Option(help="eval.json to quote.")],
    baseline: Annotated[
        Path | None, typer.Option(help="eval.json of another model, to stand beside it.")
    ] = None,
) -> None:
    """Write the model card again, with the figures of an evaluation."""
    from avikam.trainer.export.card import refresh_card

    with fail_clearly():
        typer.echo(refresh_card(model, evaluation, baseline))
