"""``avikam gateway``: one gateway in the foreground."""

from __future__ import annotations

from typing import Any

import typer

from avikam.cli.flags import ConfigFile, Lifeline, load_or_fail, settings_flags
from avikam.cli.lifeline import stop_with_parent
from avikam.gateway.settings import GatewaySettings

app = typer.Typer(rich_markup_mode=None)


@app.command()
@settings_flags(GatewaySettings)
def gateway(flags: dict[str, Any], config: ConfigFile = None, lifeline: Lifeline = False) -> None:
    """Run one gateway in the foreground."""
    settings = load_or_fail(GatewaySettings, "gateway", config, flags)
    if lifeline:
        stop_with_parent()
    from avikam.gateway.server import run

    raise typer.Exit(run(settings))
