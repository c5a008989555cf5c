"""``avikam gateway``: one gateway in the foreground."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from avikam.cli.flags import ConfigFile, Lifeline, load_or_fail, settings_flags
from avikam.cli.lifeline import stop_with_parent, wait_for_word
from avikam.gateway.settings import GatewaySettings

app = typer.Typer(rich_markup_mode=None)


@app.command()
@settings_flags(GatewaySettings)
def gateway(
    flags: dict[str, Any],
    config: ConfigFile = None,
    lifeline: Lifeline = False,
    standby: Annotated[
        bool, typer.Option("--standby", hidden=True, help="Listen after a line on standard input.")
    ] = False,
    announce: Annotated[
        bool, typer.Option("--announce", hidden=True, help="Write a line when requests are served.")
    ] = False,
    listener: Annotated[
        int | None, typer.Option(hidden=True, help="Descriptor of a bound socket to listen on.")
    ] = None,
    sibling: Annotated[
        Path | None,
        typer.Option(hidden=True, help="FOLDER/NAME where it tells its siblings its metrics."),
    ] = None,
) -> None:
    """Run one gateway in the foreground."""
    settings = load_or_fail(GatewaySettings, "gateway", config, flags)
    from avikam.gateway.server import run
    from avikam.gateway.siblings import Siblings

    if standby and not wait_for_word():
        return
    if lifeline:
        stop_with_parent()
    bound = None if listener is None else socket.socket(fileno=listener)
    siblings = None if sibling is None else Siblings(sibling.parent, sibling.name)
    raise typer.Exit(run(settings, bound, _say_ready if announce else None, siblings))


def _say_ready() -> None:
    print("ready", flush=True)
