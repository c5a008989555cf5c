"""``avikam gateway``: one gateway in the foreground."""

from __future__ import annotations

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
) -> None:
    """Run one gateway in the foreground."""
    settings = load_or_fail(GatewaySettings, "gateway", config, flags)
    from avikam.gateway.server import run

    if standby and not wait_for_word():
        return
    if lifeline:
        stop_with_parent()
    raise typer.Exit(run(settings))
