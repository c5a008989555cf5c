"""What the training commands share on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def fail_clearly() -> Iterator[None]:
    """Turn a wrong path, recipe or value into one line and exit status 2."""
    try:
        yield
    except (ValueError, FileNotFoundError, FileExistsError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
