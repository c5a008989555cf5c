"""``avikam serve``: the whole cluster, small, on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from avikam.cli.failure import fail
from avikam.cli.flags import ConfigFile, Lifeline, settings_flags
from avikam.cli.lifeline import stop_with_parent
from avikam.gateway.settings import GatewaySettings
from avikam.protocol.settings import Loaded, S, SettingsError, load_with_origins
from avikam.worker.settings import WorkerSettings

app = typer.Typer(rich_markup_mode=None)

# On one machine nobody else has to notice a drain before it starts, and people watch the terminal.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gateway": {"drain_notice_seconds": 0.0, "log_level": "warning"},
    "worker": {"drain_accept_seconds": 0.0, "log_level": "warning", "metrics_port": "off"},
}
# These belong to the gateway alone, although a worker has settings of the same name.
_GATEWAY_ONLY = {"host", "metrics_port", "queue_requests", "queue_tokens"}


@app.command()
@settings_flags(WorkerSettings, GatewaySettings, omit={"workers", "port", "worker_id"})
def serve(
    flags: dict[str, Any],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    config: ConfigFile = None,
    lifeline: Lifeline = False,
) -> None:
    """Start a gateway and workers on this machine; Ctrl-C stops them."""
    gateway, gateway_flags = _section(GatewaySettings, "gateway", config, flags)
    given = {name: value for name, value in flags.items() if name not in _GATEWAY_ONLY}
    worker, worker_flags = _section(WorkerSettings, "worker", config, given)
    if worker.engine == "real":
        _check_model(worker.model)
    gateway = _with_free_port(gateway)
    if lifeline:
        stop_with_parent()
    from avikam.cli.cluster import Cluster, ClusterPlan, free_ports
    from avikam.cli.progress import Progress

    plan = ClusterPlan(gateway, worker, gateway_flags, worker_flags, free_ports(workers), config)
    progress = Progress(f"Loading {plan.model_name}", plan.start_steps)
    raise typer.Exit(asyncio.run(Cluster(plan, progress).run()))


def _section(
    cls: type[S], section: str, config: Path | None, flags: Mapping[str, Any]
) -> tuple[S, dict[str, Any]]:
    """Settings with this command's own defaults, and the flags that give them to a child."""
    given = {name: value for name, value in flags.items() if name in cls.model_fields}
    try:
        loaded: Loaded[S] = load_with_origins(cls, section, config, given)
        unset = {n: v for n, v in _DEFAULTS[section].items() if loaded.is_default(n)}
        given = unset | given
        return load_with_origins(cls, section, config, given).settings, given
    except SettingsError as error:
        fail(*error.problems)


def _check_model(folder: Path) -> None:
    """Refuse a missing or damaged checkpoint before any process starts."""
    from avikam.model.manifest import manifest_problems

    problems = manifest_problems(folder)
    if problems:
        more = f" (and {len(problems) - 1} more: avikam model verify)" if problems[1:] else ""
        fail(f"checkpoint {folder}: {problems[0]}{more}")


def _with_free_port(gateway: GatewaySettings) -> GatewaySettings:
    """Settle the REST port: refuse a busy one, choose one for 0."""
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    try:
        with socket.create_server((gateway.host, gateway.http_port), family=family) as listener:
            port = listener.getsockname()[1]
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        fail(
            f"cannot listen on {gateway.host} port {gateway.http_port}: {reason}; "
            "choose another with --http-port, or 0 for a free one"
        )
    return gateway.model_copy(update={"http_port": port})
