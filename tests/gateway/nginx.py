"""A real nginx in front of a gateway.

with nginx(tmp_path, "location /llm/ { proxy_pass http://127.0.0.1:8000/; }") as url: ...
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools import require_tool
from tests.worker.harness import LOOPBACK, PATIENCE, free_port

_CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, server: str) -> Iterator[str]:
    """Its address. ``server`` is what its server block says beside where it listens."""
    program, port = require_tool("nginx"), free_port()
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, port=port, server=server))
    process = subprocess.Popen([program, "-c", str(file)], stderr=subprocess.PIPE, text=True)
    try:
        _wait(process, port)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx does not listen")
