"""Reading that hangs shuts out nothing but further reading."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import grpc
import pytest

from avikam.engine.adapters import AdapterStore
from avikam.engine.fake import FakeEngine
from avikam.engine.interface import AdapterInfo
from avikam.model.checkpoint import load_checkpoint
from avikam.protocol.errors import ApiError
from avikam.v1 import worker_pb2
from avikam.worker.file_work import FileWork
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import running_worker


async def test_work_that_hangs_ends_for_its_caller_and_keeps_its_place() -> None:
    going_on = threading.Event()
    files = FileWork(at_once=2, seconds=0.2)

    def hang() -> None:
        going_on.wait(60)

    late = [asyncio.create_task(files.run(hang)) for _ in range(6)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    still_full = await asyncio.gather(files.run(lambda: 5), return_exceptions=True)
    going_on.set()
    patient = FileWork(at_once=1)
    done = await asyncio.gather(patient.run(lambda: 5), patient.run(lambda: 6))

    assert [type(outcome) for outcome in outcomes] == [ApiError] * 6
    assert isinstance(still_full[0], ApiError)
    assert still_full[0].status == 504
    assert tuple(done) == (5, 6)


async def test_what_it_raises_is_raised() -> None:
    def fail() -> None:
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        await FileWork().run(fail)


class Stuck(FakeEngine):
    """An engine whose disk does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Event()

    def load_adapter(self, name: str, path: str) -> AdapterInfo:
        self.answered.wait(60)
        return super().load_adapter(name, path)


async def test_six_loads_that_hang_do_not_stop_tokenizing() -> None:
    engine = Stuck()
    async with running_worker(lambda _: engine) as worker:
        loads = [
            worker.stub.LoadAdapter(worker_pb2.LoadAdapterRequest(name=f"a{n}", path="a"))
            for n in range(6)
        ]
        text = "a" * 10_000
        told = await worker.stub.Tokenize(
            worker_pb2.TokenizeRequest(prompt={"text": text}), timeout=10
        )
        engine.answered.set()
        codes = [await load.code() for load in loads]

    assert len(told.token_ids) == len(text)
    assert set(codes) == {grpc.StatusCode.UNIMPLEMENTED}


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pipe_is_no_adapter(tmp_path: Path, name: str) -> None:
    config = load_checkpoint(tiny_checkpoint(tmp_path / "model")).config
    folder = tmp_path / "adapters" / "pipe"
    folder.mkdir(parents=True)
    os.mkfifo(folder / name)

    def apply(*_: object) -> None:
        raise AssertionError("nothing was read")

    store = AdapterStore(config, tmp_path / "adapters", 10**6, apply)
    with pytest.raises(ApiError) as refused:
        store.load("pipe", "pipe")

    assert (refused.value.status, refused.value.code) == (400, "invalid_adapter")
    assert name in refused.value.message
