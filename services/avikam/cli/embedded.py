"""Where the terminal commands find a gateway: the one asked for, a running one, or their own."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from avikam.cli.failure import fail
from avikam.cli.plan import free_ports
from avikam.cli.readiness import POLL_SECONDS, http_status
from avikam.gateway.settings import GatewaySettings


@contextlib.contextmanager
def gateway_url(asked: str | None, model: Path | None) -> Iterator[str]:
    """The address of a gateway that is ready.

    Without ``asked`` and ``model``, a gateway on this machine's default port is used when one runs.
    Otherwise a cluster with ``model`` (the embedded one by default) starts and ends with the block.
    """
    usual = f"http://127.0.0.1:{GatewaySettings().http_port}"
    if asked is not None:
        yield asked.rstrip("/")
    elif model is None and http_status(usual, "/readyz", timeout=0.5) == http.client.OK:
        yield usual
    else:
        with _own_cluster(model) as url:
            yield url


@contextlib.contextmanager
def _own_cluster(model: Path | None) -> Iterator[str]:
    port = free_ports(1)[0]
    choice = ["--model", str(model)] if model else []
    process = subprocess.Popen(
        [sys.executable, "-m", "avikam", "serve", "--lifeline", f"--http-port={port}", *choice],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # Ctrl-C in the terminal is for the command that reads it, not for its cluster.
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    while http_status(url, "/readyz") != http.client.OK:
        code = process.poll()
        if code is not None:
            raise typer.Exit(code or 1)  # the cluster has said why
        time.sleep(POLL_SECONDS)


def api_key_or_none(key: str | None) -> str | None:
    """A key as given; an empty one is none, and one that no header can hold is refused."""
    if key and not (key.isascii() and key.isprintable()):
        fail("the API key has characters that an HTTP header cannot hold")
    return key or None
