"""``avikam model``: imports, what a checkpoint is and whether it is whole, untrained ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avikam.cli.failure import fail
from avikam.worker.settings import embedded_model

if TYPE_CHECKING:
    from avikam.model.config import ModelConfig

app = typer.Typer(
    help="Import, show, verify or create checkpoints.", no_args_is_help=True, rich_markup_mode=None
)
Folder = Annotated[
    Path | None, typer.Argument(help="Checkpoint folder; the embedded model by default.")
]


@app.command("import")
def import_source(
    source: Annotated[
        str,
        typer.Argument(help="Hugging Face folder, .gguf file, org/name[@revision], or smollm2."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    weights: Annotated[
        Literal["int8", "bfloat16", "float32"], typer.Option(help="Number format of the matrices.")
    ] = "int8",
    name: Annotated[str, typer.Option(help="What clients call it; the source's by default.")] = "",
) -> None:
    """Write a foreign model as a checkpoint folder of ours, tensor by tensor."""
    from avikam.cli.imports import import_to

    import_to(source, out, weights, name)
    typer.echo(f"{out} is whole; serve it: avikam serve --model {out}")


@app.command()
def show(
    source: Annotated[
        str | None,
        typer.Argument(help="Checkpoint folder or any source; the embedded model by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    slots: Annotated[int, typer.Option(min=1, help="Sequences at a time, for the plan.")] = 32,
) -> None:
    """Print a checkpoint's size, numbers and files, or what importing a source would give."""
    from avikam.cli.model_plan import memory_plan, print_plan, source_plan
    from avikam.model.checkpoint import CheckpointError, describe_checkpoint, verify_checkpoint
    from avikam.model.config import ConfigError, ModelConfig

    if source is not None and _is_foreign(source):
        print_plan(source_plan(source, slots), as_json)
        return
    folder = Path(source) if source is not None else embedded_model()
    if not folder.is_dir():
        fail(f"checkpoint {folder}: the folder does not exist")
    try:
        description = describe_checkpoint(folder)
    except (CheckpointError, ConfigError, OSError) as error:
        problem = next(iter(verify_checkpoint(folder)), str(error))
        fail(f"checkpoint {folder}: {problem}")
    numbers = ModelConfig.from_dict(description["config"])
    description["plan"] = memory_plan(numbers, description["weights"], slots)
    if as_json:
        typer.echo(json.dumps(description, indent=2))
        return
    # The file's 0 stands for hidden_size / num_heads.
    config = description["config"]
    config["head_size"] = numbers.head_dim
    typer.echo(f"{description['name']}: {description['parameters']:,} parameters")
    typer.echo(f"weights {description['weights']}, digest {description['digest'][:16]}")
    for title in ("plan", "config", "generation", "origin", "files"):
        typer.echo(f"{title}:")
        for name, value in description[title].items():
            typer.echo(f"  {name:22} {_plain(value)}")


def _is_foreign(source: str) -> bool:
    """Whether it is anything but a folder of ours, damaged or missing."""
    from avikam.cli.imports import speaks_foreign
    from avikam.model.manifest import MANIFEST

    folder = Path(source)
    if folder.is_dir():
        return not (folder / MANIFEST).is_file() and speaks_foreign(folder)
    return folder.is_file() or not folder.is_absolute()


def _plain(value: object) -> str:
    """A list whose members are all equal takes one line however long it is."""
    if isinstance(value, list) and len(value) > 1 and len({str(each) for each in value}) == 1:
        return f"{value[0]} x {len(value)}"
    return str(value)


@app.command()
def verify(folder: Folder = None) -> None:
    """Check a checkpoint's files, hashes and tensors; exit status 1 when something is wrong."""
    from avikam.model.checkpoint import verify_checkpoint

    folder = folder or embedded_model()
    problems = verify_checkpoint(folder)
    for problem in problems:
        typer.echo(f"{folder}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{folder} is whole")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    config: Annotated[str, typer.Option(help="A size's name, or a config.json.")] = "avikam1-7b",
    dummy: Annotated[
        bool, typer.Option("--dummy/--random", help="Zeros that take no disk, or random weights.")
    ] = False,
    weights: Annotated[
        Literal["int8", "bfloat16", "float32"], typer.Option(help="Number format of the matrices.")
    ] = "int8",
    tokenizer: Annotated[
        Path | None, typer.Option(help="SentencePiece file; the embedded model's by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
) -> None:
    """Write an untrained checkpoint, to measure a size before its weights exist."""
    from avikam.model.config import ConfigError
    from avikam.model.manifest import TOKENIZER
    from avikam.model.untrained import write_untrained

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"{folder} exists already; choose another folder")
    source = tokenizer or embedded_model() / TOKENIZER
    try:
        numbers = _model_config(config)
        write_untrained(folder, numbers, source.read_bytes(), weights, None if dummy else seed)
    except (ConfigError, OSError) as error:
        fail(str(error))
    typer.echo(f"{folder}: {numbers.parameter_count():,} parameters, {weights}")


def _model_config(name: str) -> ModelConfig:
    from avikam.model.config import ModelConfig, preset

    return ModelConfig.from_file(Path(name)) if name.endswith(".json") else preset(name)
