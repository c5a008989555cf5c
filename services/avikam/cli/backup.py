"""``avikam backup``: weights, adapters and keys in one checked archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avikam.cli.failure import fail
from avikam.operations.backup import BackupError, write_backup

app = typer.Typer(rich_markup_mode=None)

Archive = Annotated[Path, typer.Argument(help="The archive, a .tar file.")]


@app.command()
def backup(
    archive: Archive,
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    adapters: Annotated[Path | None, typer.Option(help="Folder of LoRA adapters.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Key file of the gateways.")] = None,
) -> None:
    """Write weights, adapters and keys to an archive, and read it again to be sure.

    The archive has mode 600. It holds hashes of keys, never keys.
    """
    try:
        sums = write_backup(archive, model, adapters, keys)
    except (BackupError, OSError) as error:
        fail(str(error))
    typer.echo(f"{archive}: {len(sums)} files")
