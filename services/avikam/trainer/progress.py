"""Progress of the training commands: a bar on a terminal, lines everywhere else.

Both go to the error stream, so that a command's output can still be piped. Off a terminal (nohup,
CI, a job in a cluster) a bar would show nothing until the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Update = Callable[[int, str], None]
"""(units done since the last call, a note such as ``loss 2.31``)."""
UpdateShare = Callable[[float, str], None]
"""(share of the run that is done, 0..1, a note)."""
_LINE_SECONDS = 30.0


@contextmanager
def progress_bar(title: str, total: int | None, shown: bool = True) -> Iterator[Update]:
    """Progress by units; ``total`` None: not known beforehand."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _counted_lines(console, title, total, shown)
        return
    with _bar(console, shown, MofNCompleteColumn()) as bar:
        task = bar.add_task(title, total=total, note="")

        def update(done: int, note: str = "") -> None:
            bar.update(task, advance=done, note=note)

        yield update


@contextmanager
def training_bar(title: str, every: int, shown: bool = True) -> Iterator[UpdateShare]:
    """Progress of a run by what ends it; off a terminal a line at every ``every``-th call."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _share_lines(console, title, every, shown)
        return
    with _bar(console, shown, TaskProgressColumn()) as bar:
        task = bar.add_task(title, total=1.0, note="")
        yield lambda share, note: bar.update(task, completed=share, note=note)


def say(line: str) -> None:
    """One line on the error stream."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def _bar(console: Console, shown: bool, amount: ProgressColumn) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=console, disable=not shown)


def _counted_lines(console: Console, title: str, total: int | None, shown: bool) -> Update:
    """A line every half minute and one at the end."""
    done, last = 0, time.monotonic()

    def update(more: int, note: str = "") -> None:
        nonlocal done, last
        done += more
        now = time.monotonic()
        if shown and (now - last > _LINE_SECONDS or (more and done == total)):
            last = now
            _line(console, title, f"{done}/{total}" if total else f"{done}", note)

    return update


def _share_lines(console: Console, title: str, every: int, shown: bool) -> UpdateShare:
    calls, began, first = 0, time.monotonic(), -1.0

    def update(share: float, note: str) -> None:
        nonlocal calls, first
        first = share if first < 0 else first
        if shown and (calls % max(1, every) == 0 or share >= 1.0):
            left = _left(time.monotonic() - began, share - first, 1.0 - share)
            _line(console, title, f"{100 * min(share, 1.0):.1f} %", note, left)
        calls += 1

    return update


def _left(passed: float, done: float, open_: float) -> str:
    """How long the rest takes at the pace so far."""
    if done <= 0 or open_ <= 0:
        return ""
    minutes, seconds = divmod(round(passed / done * open_), 60)
    return f"{minutes} min {seconds:02d} s left"


def _line(console: Console, *parts: str) -> None:
    console.print("  ".join(filter(None, parts)), highlight=False, markup=False, soft_wrap=True)
