"""What people put in front of a gateway, each started on a port of its own.

with nginx(gateway_port, folder, INGRESS) as port: ...
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools import require_tool
from tests.worker.harness import LOOPBACK, free_port

HERE = Path(__file__).parent

# nginx as it comes: every request on a connection of its own, in HTTP/1.0.
PLAIN = "proxy_pass http://gateway;"
# As ingress-nginx is configured: connections are kept, and an offered upgrade is passed on.
INGRESS = """
proxy_pass http://gateway;
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
"""
# The same, and a body goes on as it comes.
UNBUFFERED = INGRESS + "proxy_request_buffering off;"

_NGINX = """
user root; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 8m;
    location / {{ {location} proxy_set_header Host $http_host; proxy_buffering off; }}
  }}
}}
"""

_HAPROXY = """
global
  stats socket {folder}/stats
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  default_backend gateways
backend gateways
  option httpchk
  http-reuse always
  server gateway 127.0.0.1:{gateway} check inter 200ms
"""


@contextlib.contextmanager
def nginx(gateway: int, folder: Path, location: str) -> Iterator[int]:
    """Debian's nginx; ``location`` is how it passes requests on."""
    program, port = require_tool("nginx"), free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, gateway=gateway, port=port, location=location))
    with _running([program, "-c", str(config), "-p", str(folder)], port):
        yield port


@contextlib.contextmanager
def haproxy(gateway: int, folder: Path) -> Iterator[int]:
    """Debian's HAProxy, with its default health check."""
    program, port = require_tool("haproxy"), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(folder=folder, gateway=gateway, port=port))
    with _running([program, "-db", "-f", str(config)], port):
        yield port


@contextlib.contextmanager
def go_proxy(gateway: int, folder: Path) -> Iterator[int]:
    """A proxy made of Go's own packages."""
    program = folder / "proxy"
    build = [require_tool("go"), "build", "-buildvcs=false", "-o", str(program), "."]
    subprocess.run(build, cwd=HERE / "go", check=True, timeout=300)
    command = [str(program), f"http://{LOOPBACK}:{gateway}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def haproxy_status(folder: Path) -> dict[str, str]:
    """What HAProxy thinks of its only server."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.connect(str(folder / "stats"))
        stats.sendall(b"show stat\n")
        answer = b"".join(iter(lambda: stats.recv(65536), b"")).decode()
    names, *rows = [line.split(",") for line in answer.strip().removeprefix("# ").splitlines()]
    return next(
        dict(zip(names, row, strict=False)) for row in rows if row[:2] == ["gateways", "gateway"]
    )


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen on {port}")
