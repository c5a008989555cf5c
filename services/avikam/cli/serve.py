"""``avikam serve``: the whole cluster, small, on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from avikam.cli.failure import fail
from avikam.cli.flags import ConfigFile, Lifeline, settings_flags
from avikam.cli.lifeline import stop_with_parent
from avikam.common.settings import Loaded, S, SettingsError, load_with_origins
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings

app = typer.Typer(rich_markup_mode=None)

# These belong to the gateway alone, although a worker has settings of the same name.
_GATEWAY_ONLY = {"host", "metrics_port", "queue_requests", "queue_tokens"}


def _defaults(gateways: int) -> dict[str, dict[str, Any]]:
    """On one machine nobody else has to notice a drain before it starts, and people watch the
    terminal. But with several gateways, clients have a moment to leave the one that restarts.
    """
    notice = 1.0 if gateways > 1 else 0.0
    return {
        "gateway": {"drain_notice_seconds": notice, "log_level": "warning"},
        "worker": {"drain_accept_seconds": 0.0, "log_level": "warning", "metrics_port": "off"},
    }


@app.command()
@settings_flags(WorkerSettings, GatewaySettings, omit={"workers", "port", "worker_id"})
def serve(
    flags: dict[str, Any],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    gateways: Annotated[
        int, typer.Option(min=1, max=64, help="Gateway processes; all listen on one port.")
    ] = 1,
    config: ConfigFile = None,
    lifeline: Lifeline = False,
) -> None:
    """Start gateways and workers on this machine; Ctrl-C stops them.

    SIGHUP restarts all of them one by one, with the configuration file as it is then: workers
    first, then gateways. With two or more of each, no request fails.
    """
    gateway, gateway_flags = _section(GatewaySettings, "gateway", config, flags, gateways)
    given = {name: value for name, value in flags.items() if name not in _GATEWAY_ONLY}
    worker, worker_flags = _section(WorkerSettings, "worker", config, given, gateways)
    if worker.engine == "real":
        worker, worker_flags = _with_model(worker, worker_flags)
    from avikam.cli.cluster import Cluster
    from avikam.cli.plan import ClusterPlan, free_ports
    from avikam.cli.progress import Progress

    gateway, listener = _with_ports(gateway)
    if lifeline:
        stop_with_parent()
    ports = free_ports(workers)
    with tempfile.TemporaryDirectory(prefix="avikam-") as folder:
        siblings = Path(folder) if gateways > 1 else None
        plan = ClusterPlan(
            gateway,
            worker,
            gateway_flags,
            worker_flags,
            ports,
            gateways,
            listener,
            config,
            siblings,
        )
        progress = Progress(f"Loading {plan.model_name}", plan.start_steps)
        status = asyncio.run(Cluster(plan, progress).run())
    raise typer.Exit(status)


def _section(
    cls: type[S], section: str, config: Path | None, flags: Mapping[str, Any], gateways: int
) -> tuple[S, dict[str, Any]]:
    """Settings with this command's own defaults, and the flags that give them to a child."""
    given = {name: value for name, value in flags.items() if name in cls.model_fields}
    try:
        loaded: Loaded[S] = load_with_origins(cls, section, config, given)
        own = _defaults(gateways)[section].items()
        given = {name: value for name, value in own if loaded.is_default(name)} | given
        return load_with_origins(cls, section, config, given).settings, given
    except SettingsError as error:
        fail(*error.problems)


def _with_model(
    worker: WorkerSettings, flags: dict[str, Any]
) -> tuple[WorkerSettings, dict[str, Any]]:
    """A checkpoint that is whole: the one named, or the import of the source that is named."""
    from avikam.cli.imports import imported, speaks_foreign
    from avikam.model.manifest import MANIFEST

    folder = worker.model
    whole = (folder / MANIFEST).is_file()
    foreign = speaks_foreign(folder) if folder.is_dir() else not folder.is_absolute()
    if not whole and (foreign or folder.is_file()):
        folder = imported(str(folder), worker.stored_type)
    _check_model(folder)
    return worker.model_copy(update={"model": folder}), flags | {"model": folder}


def _check_model(folder: Path) -> None:
    """Refuse a missing or damaged checkpoint before any process starts."""
    from avikam.model.manifest import manifest_problems

    problems = manifest_problems(folder)
    if problems:
        more = f" (and {len(problems) - 1} more: avikam model verify)" if problems[1:] else ""
        fail(f"checkpoint {folder}: {problems[0]}{more}")


def _with_ports(gateway: GatewaySettings) -> tuple[GatewaySettings, socket.socket]:
    """Settle the ports: refuse busy ones, choose one for 0. The REST port's socket is kept."""
    ports = {}
    if gateway.grpc_port is not None:
        with _bound(gateway.host, gateway.grpc_port, "--grpc-port") as held:
            ports["grpc_port"] = held.getsockname()[1]
    listener = _bound(gateway.host, gateway.http_port, "--http-port")
    ports["http_port"] = listener.getsockname()[1]
    return gateway.model_copy(update=ports), listener


def _bound(host: str, port: int, flag: str) -> socket.socket:
    from avikam.cli.plan import bind

    try:
        return bind(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        fail(
            f"cannot listen on {host} port {port}: {reason}; "
            f"choose another with {flag}, or 0 for a free one"
        )
