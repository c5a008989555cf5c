"""``avikam version``: what exactly is installed."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

import avikam

app = typer.Typer(rich_markup_mode=None)
_SHOWN = ("torch", "grpcio", "protobuf", "fastapi", "sentencepiece")


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the versions of Avikam and what it stands on."""
    versions = {"avikam": avikam.__version__, "python": platform.python_version()}
    versions |= {name: _installed(name) for name in _SHOWN}
    if as_json:
        typer.echo(json.dumps(versions, indent=2))
        return
    for name, number in versions.items():
        typer.echo(f"{name:14} {number}")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
