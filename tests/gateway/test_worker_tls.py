"""Between gateway and worker each side proves who it is, with real certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from pydantic import ValidationError

from avikam.gateway.settings import GatewaySettings
from avikam.gateway.workers.channel import OpenChannel, channel_opener, open_channel
from avikam.v1 import worker_pb2, worker_pb2_grpc
from avikam.worker.server import StartError, WorkerServer
from avikam.worker.settings import WorkerSettings
from tests.gateway.harness import serving
from tests.worker.certificates import Authority, Files
from tests.worker.harness import fake_settings, running_worker

NAME = "avikam-worker"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def worker(authority: Authority) -> Files:
    return authority.sign(NAME, "server")


@pytest.fixture
def gateway(authority: Authority) -> Files:
    return authority.sign("avikam-gateway", "client")


def opener(files: Files, **settings: str) -> OpenChannel:
    """How a gateway with these files opens channels."""
    return channel_opener(GatewaySettings(**files.gateway(), **settings))


async def status(server: WorkerServer, connect: OpenChannel) -> grpc.StatusCode:
    """How a call to the worker ends."""
    async with connect(f"127.0.0.1:{server.port}") as channel:
        stub = worker_pb2_grpc.WorkerServiceStub(channel)
        try:
            await stub.Tokenize(worker_pb2.TokenizeRequest(prompt={"text": "a"}), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_requests_pass_between_two_who_know_each_other(worker: Files, gateway: Files) -> None:
    async with serving(worker=dict(worker.worker()), **gateway.gateway()) as running:
        answer = await running.client.post("/generate", json={"prompt": "a", "max_tokens": 3})
        assert answer.status_code == 200, answer.text


async def test_who_speaks_in_the_clear_is_refused(worker: Files) -> None:
    async with running_worker(**worker.worker()) as running:
        assert await status(running.server, open_channel) is grpc.StatusCode.UNAVAILABLE


Strangers = Callable[[Authority, Path], OpenChannel]
STRANGERS: dict[str, Strangers] = {
    "signed by somebody else": lambda ours, folder: opener(_foreign(ours, folder)),
    "a worker that plays gateway": lambda ours, folder: opener(ours.sign("other", "server")),
    "a gateway that expects another name": lambda ours, folder: opener(
        ours.sign("avikam-gateway", "client"), worker_tls_name="somebody"
    ),
}


def _foreign(ours: Authority, folder: Path) -> Files:
    """A client's certificate of another authority; it would trust our worker."""
    (folder / "foreign").mkdir()
    files = Authority(folder / "foreign").sign("avikam-gateway", "client")
    files.authority.write_bytes(ours.sign("any", "client").authority.read_bytes())
    return files


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS.keys())
async def test_a_stranger_gets_no_answer(
    stranger: Strangers, authority: Authority, worker: Files, tmp_path: Path
) -> None:
    async with running_worker(**worker.worker()) as running:
        connect = stranger(authority, tmp_path)
        assert await status(running.server, connect) is grpc.StatusCode.UNAVAILABLE


async def test_renewed_files_count_without_a_restart(
    worker: Files, gateway: Files, tmp_path: Path
) -> None:
    (tmp_path / "next").mkdir()
    async with running_worker(**worker.worker()) as running:
        connect = opener(gateway)
        assert await status(running.server, connect) is grpc.StatusCode.OK
        renewed = Authority(tmp_path / "next")
        for old, new in [
            (worker, renewed.sign(NAME, "server")),
            (gateway, renewed.sign("avikam-gateway", "client")),
        ]:
            old.key.write_bytes(new.key.read_bytes())
            old.certificate.write_bytes(new.certificate.read_bytes())
            old.authority.write_bytes(new.authority.read_bytes())
        assert await status(running.server, connect) is grpc.StatusCode.OK


def test_half_a_certificate_is_refused(worker: Files) -> None:
    for settings, prefix in [(WorkerSettings, ""), (GatewaySettings, "worker_")]:
        with pytest.raises(ValidationError, match="set all three of them, or none"):
            settings(**{f"{prefix}tls_key": worker.key})


async def test_a_certificate_that_is_not_there_is_told_in_a_line(worker: Files) -> None:
    worker.certificate.unlink()
    with pytest.raises(StartError, match=r"cannot read its certificate: .*No such file"):
        await WorkerServer(fake_settings(**worker.worker())).start()


async def test_health_is_told_beside_the_metrics(worker: Files) -> None:
    """The kubelet has no certificate: it asks here."""
    server = WorkerServer(fake_settings(metrics_port=0, **worker.worker()))
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.metrics_port}") as client:
            loading = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
            await server.load()
            serving = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
            assert "avikam_worker_state" in (await client.get("/metrics")).text
            assert (await client.head("/metrics")).status_code == 200
        assert (loading, serving) == ([200, 503], [200, 200])
    finally:
        await server.stop()
