"""Imports as the terminal shows them: a bar while tensors are written, one line for a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from avikam.cli.failure import fail

if TYPE_CHECKING:
    from avikam.model.weights_file import StoredType


def speaks_foreign(folder: Path) -> bool:
    """Whether a folder without our manifest is Hugging Face's, or holds a GGUF file."""
    config = folder / "config.json"
    named = config.is_file() and b'"architectures"' in config.read_bytes()
    return named or any(folder.glob("*.gguf"))


def imported(source: str, weights: StoredType) -> Path:
    """The folder of a source's import, made now if need be."""
    from avikam.model.imports.resolve import resolve_model
    from avikam.model.sources.source import SourceError

    try:
        with _Bar(f"Importing {source}") as bar:
            return resolve_model(source, weights, bar.show)
    except (SourceError, OSError) as error:
        fail(f"model {source}: {error}")


def import_to(source: str, out: Path, weights: StoredType, name: str) -> None:
    """Write a source's import into ``out``."""
    from avikam.model.imports.plan import plan_import
    from avikam.model.imports.write import write_import
    from avikam.model.sources.open_source import open_source
    from avikam.model.sources.source import SourceError

    try:
        with _Bar(f"Importing {source}") as bar:
            write_import(plan_import(open_source(source), name), out, weights, bar.show)
    except (SourceError, OSError) as error:
        fail(f"model {source}: {error}")


class _Bar:
    """A progress bar over tensors, drawn from the first one on, and only on a terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._drawn = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            typer.echo("", err=True)

    def show(self, count: int, total: int) -> None:
        percent = 100 * count // total
        if percent > self._drawn and typer.get_text_stream("stderr").isatty():
            self._drawn = percent
            typer.echo(f"\r{self._title}: {percent} %", err=True, nl=False)
