"""What the gateways of one ``avikam serve`` measure, told by whichever of them is asked.

They listen on one port, so a scrape reaches any of them. Each shows its own numbers on a socket in
a folder that they share; the one that is asked collects them all and marks each series with the
gateway it belongs to. They are not added up: a gateway that starts again begins at 0, and only in
series of its own does Prometheus take that for what it is.

    scrape ─► gateway 2 ─┬─► FOLDER/1  ─► text ─┐
                         ├─► FOLDER/2  ─► text ─┼─► series{gateway="1", ...}, {gateway="2", ...}
                         └─► FOLDER/3  ─  ?     ┘   avikam_gateway_answered{gateway="3"} 0
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

# How long (seconds) a gateway may take to show its numbers before it is left out.
_PATIENCE = 2.0
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ANSWERED = "avikam_gateway_answered"


class Siblings:
    """The gateways of one cluster on this machine; this one is ``name`` (such as "1")."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._server: asyncio.Server | None = None
        self._own: Callable[[], bytes] | None = None

    async def show(self, own: Callable[[], bytes]) -> None:
        """Answer the others with ``own``, a text in Prometheus' format. Raises OSError."""
        self._own = own
        path = self._folder / self._name
        # A gateway of this name that was killed has left its socket.
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path)

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            (self._folder / self._name).unlink(missing_ok=True)

    async def text(self) -> bytes:
        """The numbers of all gateways, in Prometheus' format."""
        names = sorted(path.name for path in self._folder.iterdir())
        texts = await asyncio.gather(*map(self._ask, names))
        return merged(dict(zip(names, texts, strict=True)))

    async def _ask(self, name: str) -> str | None:
        """The numbers of one; None when it does not answer."""
        if name == self._name and self._own is not None:
            return self._own().decode()
        with contextlib.suppress(OSError, TimeoutError, UnicodeDecodeError):
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._folder / name)
                try:
                    return (await reader.read()).decode()
                finally:
                    writer.close()
        return None

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._own is not None:
            writer.write(self._own())
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


def merged(texts: Mapping[str, str | None]) -> bytes:
    """One text of several: each family once, each series marked with its gateway."""
    families: dict[str, list[str]] = {
        f"# HELP {_ANSWERED} Whether each gateway on this port answered this scrape.\n"
        f"# TYPE {_ANSWERED} gauge": [
            f'{_ANSWERED}{{gateway="{name}"}} {int(text is not None)}'
            for name, text in texts.items()
        ]
    }
    for name, text in texts.items():
        about, samples = "", list[str]()
        for line in (text or "").splitlines():
            if line.startswith("# HELP "):
                about = line
            elif line.startswith("# TYPE "):
                samples = families.setdefault(f"{about}\n{line}", [])
            elif line:
                samples.append(_marked(line, name))
    parts = (line for about, lines in families.items() for line in (about, *lines))
    return "".join(f"{part}\n" for part in parts).encode()


def _marked(sample: str, gateway: str) -> str:
    """The sample with one label more."""
    found = _NAME.match(sample)
    if found is None:
        raise ValueError(f"{sample[:64]!r} is not a sample of Prometheus' text format")
    rest = sample[found.end() :]
    if rest.startswith("{"):
        return f'{found[0]}{{gateway="{gateway}",{rest[1:]}'
    return f'{found[0]}{{gateway="{gateway}"}}{rest}'
