"""Another worker continues a stream at any index, and nobody can tell."""

from __future__ import annotations

import grpc
import pytest
from grpc import aio

from avikam.engine import fake_text
from avikam.v1 import generation_pb2
from tests.worker.harness import OpenStream, api_error, generate, running_worker, sequence_request

LENGTH = 60
SEED = 5


async def test_a_resume_at_every_index_equals_the_unbroken_run() -> None:
    async with running_worker(plan="tpot=1ms") as worker:
        whole = await generate(worker.stub, max_tokens=LENGTH, seed=SEED)
        # Text that is certain after each number of tokens, as a gateway would have journalled it.
        said = {0: ""}
        slow = OpenStream(worker.stub, sequence_request(max_tokens=LENGTH, seed=SEED))
        for frame in (await slow.rest()).frames:
            said[frame.first_index + len(frame.token_ids)] = said[frame.first_index] + frame.text

        for index in range(1, LENGTH + 1):
            rest = await generate(
                worker.stub, max_tokens=LENGTH, seed=SEED, generated=whole.tokens[:index]
            )
            assert rest.frames[0].first_index == index
            assert whole.tokens[:index] + rest.tokens == whole.tokens
            assert whole.text.endswith(rest.text)
            if index in said:
                assert said[index] + rest.text == whole.text
            assert rest.finish.reason == whole.finish.reason
            assert rest.finish.usage == whole.finish.usage


async def test_a_resume_inside_a_stop_string_still_finds_it() -> None:
    whole = fake_text.decode(fake_text.answer(SEED, 0, LENGTH))
    stop = whole[60:75]
    async with running_worker() as worker:
        unbroken = await generate(worker.stub, max_tokens=LENGTH, seed=SEED, stop=[stop])
        for index in range(1, len(unbroken.tokens) + 1):
            rest = await generate(
                worker.stub,
                max_tokens=LENGTH,
                seed=SEED,
                stop=[stop],
                generated=unbroken.tokens[:index],
            )
            assert unbroken.tokens[:index] + rest.tokens == unbroken.tokens
            assert rest.finish.reason == generation_pb2.FINISH_REASON_STOP
            assert rest.finish.stop_match == stop
            assert unbroken.text.endswith(rest.text)


async def test_a_resume_of_all_tokens_just_finishes() -> None:
    tokens = fake_text.answer(SEED, 0, 10)
    async with running_worker() as worker:
        rest = await generate(worker.stub, max_tokens=10, seed=SEED, generated=tokens)

    assert rest.tokens == []
    assert rest.finish.reason == generation_pb2.FINISH_REASON_LENGTH
    assert rest.finish.usage.completion_tokens == 10


@pytest.mark.parametrize(
    ("generated", "max_tokens"),
    [([100] * 11, 10), ([2**31], 10), ([fake_text.VOCAB_SIZE], 10)],
    ids=["longer than max_tokens", "far outside the vocabulary", "just outside the vocabulary"],
)
async def test_an_impossible_resume_is_refused(generated: list[int], max_tokens: int) -> None:
    async with running_worker() as worker:
        with pytest.raises(aio.AioRpcError) as refused:
            await generate(worker.stub, max_tokens=max_tokens, generated=generated)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert api_error(refused.value).param == "generated"
