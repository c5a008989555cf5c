"""Flags of the commands that generate, and what they send."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

Url = Annotated[
    str | None,
    typer.Option(help="Gateway; by default the one on port 8000, else an own one is started."),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="AVIKAM_API_KEY", help="API key, where the gateway wants one.")
]
Model = Annotated[Path | None, typer.Option(help="Start an own cluster with this checkpoint.")]
Adapter = Annotated[
    str | None, typer.Option(help="Adapter, or another model, that the gateway serves.")
]
MaxTokens = Annotated[int | None, typer.Option(help="Most tokens to generate.")]
Temperature = Annotated[float | None, typer.Option(help="0 always takes the likeliest token.")]
TopP = Annotated[float | None, typer.Option(help="Share of probability to choose from.")]
TopK = Annotated[int | None, typer.Option(help="Number of tokens to choose from; 0 is all.")]
Seed = Annotated[int | None, typer.Option(help="Equal seeds give equal answers.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a stream.")]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def given(**options: Any) -> dict[str, Any]:
    """The options that the user chose; the server has defaults for the rest."""
    return {name: value for name, value in options.items() if value is not None}


def printable(text: str) -> str:
    """Text without control characters: what a model says must not steer the terminal."""
    return _CONTROL.sub("\ufffd", text)
