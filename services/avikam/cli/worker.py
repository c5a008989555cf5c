"""``avikam worker``: one worker in the foreground."""

from __future__ import annotations

from typing import Any

import typer

from avikam.cli.flags import ConfigFile, Lifeline, load_or_fail, settings_flags
from avikam.cli.lifeline import stop_with_parent
from avikam.worker.settings import WorkerSettings

app = typer.Typer(rich_markup_mode=None)


@app.command()
@settings_flags(WorkerSettings)
def worker(flags: dict[str, Any], config: ConfigFile = None, lifeline: Lifeline = False) -> None:
    """Run one worker in the foreground."""
    settings = load_or_fail(WorkerSettings, "worker", config, flags)
    if lifeline:
        stop_with_parent()
    from avikam.worker.server import run

    raise typer.Exit(run(settings))
