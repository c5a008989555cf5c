"""Progress bars of the training commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Update = Callable[[int, str], None]
"""(units done since the last call, a note such as ``loss 2.31``)."""


@contextmanager
def progress_bar(title: str, total: int | None, shown: bool = True) -> Iterator[Update]:
    """A bar on the error stream, so that a command's output can still be piped.

    ``total`` None: not known beforehand.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(title, total=total, note="")

        def update(done: int, note: str = "") -> None:
            bar.update(task, advance=done, note=note)

        yield update
