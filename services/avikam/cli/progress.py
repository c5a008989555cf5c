"""How far a start is: a bar on a terminal, one line per step elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import typer


class Progress:
    """Counts the steps of something that takes a while, on standard error."""

    def __init__(self, title: str, steps: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._title = title
        self._started = time.monotonic()
        self._bar: Any = None
        if self._stream.isatty():
            self._bar = typer.progressbar(
                length=steps,
                label=title,
                file=self._stream,
                item_show_func=lambda item: item,
                show_eta=False,
            )
            self._bar.render_progress()
        else:
            self._line(title)

    def step(self, text: str) -> None:
        """One step is done."""
        if self._bar is None:
            self._line(f"{text} ({time.monotonic() - self._started:.1f} s)")
        else:
            self._bar.current_item = text
            self._bar.update(1)

    def close(self) -> None:
        """Leave the terminal's cursor on a line of its own."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()
