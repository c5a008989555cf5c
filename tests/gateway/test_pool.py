"""Which workers may take a sequence of an adapter."""

from __future__ import annotations

import random

import grpc

from avikam.gateway.routing.policies import POLICIES
from avikam.gateway.workers.pool import Pool, Target
from avikam.gateway.workers.worker import Worker
from avikam.v1 import generation_pb2, worker_pb2

POET = Target("nano", adapter="poet")


def pool_of(*digests: str) -> tuple[Pool, list[Worker]]:
    """Ready workers of one model; each has the adapter in the content of its digest, or not."""

    def connect(address: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address)

    pool = Pool(POLICIES["least_cost"], lambda: 0.0, random.Random(1), connect=connect)
    workers = [pool.add(f"127.0.0.1:{port}") for port in range(1, len(digests) + 1)]
    for worker, digest in zip(workers, digests, strict=True):
        adapters = [generation_pb2.Adapter(name="poet", digest=digest)] if digest else []
        worker.update(
            worker_pb2.WorkerStatus(
                model=generation_pb2.ModelInfo(id="nano", digest="weights"),
                state=worker_pb2.WORKER_STATE_READY,
                slots_total=4,
                adapters=adapters,
            ),
            slow_start=False,
        )
    return pool, workers


async def test_the_only_worker_with_an_adapter_is_chosen_even_where_others_are_preferred() -> None:
    pool, (poet, *_) = pool_of("a", "", "")
    assert pool.pick(POET) is poet
    assert pool.pick(POET, avoid={poet.address}) is poet
    for _ in range(poet.room):
        poet.begin(10)
    assert pool.pick(POET) is poet


async def test_an_answer_goes_on_with_the_adapter_that_began_it() -> None:
    pool, (_, other, same) = pool_of("old", "new", "old")
    going_on = Target("nano", "poet", fingerprint=same.fingerprint, adapter_digest="old")
    assert {pool.pick(going_on, avoid={"127.0.0.1:1"}) for _ in range(20)} == {same}
    other.begin(1)
    gone = Target("nano", "poet", fingerprint=same.fingerprint, adapter_digest="gone")
    assert pool.pick(gone) is None


async def test_without_the_adapter_there_is_nobody() -> None:
    pool, _ = pool_of("", "")
    assert pool.pick(POET) is None
