"""F49: workers one version ahead and one behind, as gateways meet them during an upgrade."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, Z

# Generic in the stubs only.
if TYPE_CHECKING:
    _Handler = grpc.GenericRpcHandler[bytes, bytes]
else:
    _Handler = grpc.GenericRpcHandler

# Field 15000, a varint: in no message of today.
_FUTURE = b"\xc0\xa9\x07\x01"
_SEQUENCES = frozenset({"/avikam.v1.WorkerService/Generate", "/avikam.v1.WorkerService/Exchange"})


class OtherVersion(_Handler):
    """Passes on every call to a worker, as a worker of another version would answer it.

    ``newer`` adds a field that nobody knows to every message, both ways; otherwise the calls that
    carry sequences are not known.
    """

    def __init__(self, target: str, *, newer: bool) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._newer = newer

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if not self._newer and details.method in _SEQUENCES:
            return None
        call: Any = self._channel.stream_stream(details.method, None, None)

        async def pass_on(requests: Any, context: Any) -> AsyncIterator[bytes]:
            far = call(self._marked(requests), timeout=context.time_remaining())
            try:
                async for message in far:
                    yield message + self._mark
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                await context.abort(error.code(), error.details() or "")
            finally:
                far.cancel()

        return grpc.stream_stream_rpc_method_handler(pass_on)

    @property
    def _mark(self) -> bytes:
        return _FUTURE if self._newer else b""

    async def _marked(self, requests: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield message + self._mark


async def other_versions(stage: Stage) -> None:
    """Worker 0 becomes one of an older version, worker 1 one of a newer; 2 stays as it is."""
    for number, newer in ((0, False), (1, True)):
        server = grpc.aio.server()
        worker = stage.cluster.workers[number]
        server.add_generic_rpc_handlers((OtherVersion(worker.address, newer=newer),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stage.cluster.proxies[number].target = f"127.0.0.1:{port}"
        stage.cluster.proxies[number].reset()
        stage.cluster.servers.append(server)
    await stage.sleep(8)


def drills() -> Iterator[Drill]:
    """This family's line."""
    yield Drill(
        "F49",
        "one worker a version behind, one ahead",
        {**Z, "refused": 0},
        other_versions,
        Layout(workers=3, proxied=2),
        after=1,
        quick=True,
    )
