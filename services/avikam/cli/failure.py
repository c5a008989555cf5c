"""How a command says no: one line per problem on standard error, exit status 2."""

from __future__ import annotations

from typing import NoReturn

import typer

BAD_SETUP = 2


def fail(*problems: str) -> NoReturn:
    """Print what is wrong and end the program."""
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(BAD_SETUP)
