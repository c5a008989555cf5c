"""``avikam restore``: an archive of ``avikam backup``, checked and unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avikam.cli.failure import fail
from avikam.operations.backup import BackupError, check_backup, restore_backup

app = typer.Typer(rich_markup_mode=None)


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="The archive, a .tar file.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write, empty or not there.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only read and compare.")] = False,
) -> None:
    """Check an archive of avikam backup, and unpack it."""
    if check == (to is not None):
        fail("name a folder with --to, or only --check the archive")
    try:
        sums = check_backup(archive) if to is None else restore_backup(archive, to)
    except (BackupError, OSError) as error:
        fail(str(error))
    typer.echo(f"{to or archive}: {len(sums)} files, all as they were")
