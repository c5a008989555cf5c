"""What ``avikam serve`` tells each of its processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from avikam.cli.plan import ClusterPlan, bind
from avikam.cli.supervisor import Supervised
from avikam.gateway.server import GatewayServer, StartError
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as bound:
        yield bound


def plan(listener: socket.socket, gateways: int) -> ClusterPlan:
    gateway = GatewaySettings(http_port=8000, grpc_port=9000, metrics_port=9090)
    worker = WorkerSettings(engine="fake", metrics_port=9091)
    return ClusterPlan(gateway, worker, {}, {}, (50051, 50052), gateways, listener)


def arguments(process: Supervised) -> set[str]:
    return set(process.argv)


def test_gateways_share_ports_and_have_metrics_of_their_own(listener: socket.socket) -> None:
    first, second = plan(listener, 2).gateway_processes()
    assert (first.name, second.name) == ("gateway 1", "gateway 2")
    shared = {"--http-port=8000", "--grpc-port=9000", f"--listener={listener.fileno()}"}
    assert arguments(first) & arguments(second) >= shared
    assert arguments(first) - arguments(second) == {"--metrics-port=9090"}
    assert arguments(second) - arguments(first) == {"--metrics-port=9091"}


def test_workers_have_ports_of_their_own(listener: socket.socket) -> None:
    first, second = plan(listener, 1).workers()
    assert arguments(first) - arguments(second) == {"--port=50051", "--metrics-port=9091"}
    assert arguments(second) - arguments(first) == {"--port=50052", "--metrics-port=9092"}


def test_a_single_gateway_needs_no_number(listener: socket.socket) -> None:
    (gateway,) = plan(listener, 1).gateway_processes()
    assert gateway.name == "gateway"


def test_a_bound_port_refuses_clients_until_somebody_listens(listener: socket.socket) -> None:
    address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    listener.listen()
    socket.create_connection(address, timeout=5).close()
    with pytest.raises(OSError, match="Address already in use"):
        bind(*address)


async def test_a_gateway_says_when_somebody_else_listens(listener: socket.socket) -> None:
    """Two that are starting may both have bound the port; one of them is first to listen."""
    with bind(*listener.getsockname()) as other:
        other.listen()
        with pytest.raises(StartError, match="Address already in use"):
            await GatewayServer(GatewaySettings(), listener).start()
