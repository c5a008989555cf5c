"""What a Generate stream says, frame by frame."""

from __future__ import annotations

import asyncio
import random
import time

from avikam.engine import fake_text
from avikam.protocol.limits import LIMITS
from avikam.v1 import generation_pb2, worker_pb2
from tests.worker.harness import Answer, OpenStream, generate, running_worker, sequence_request


async def test_the_first_frame_accepts_and_the_last_one_finishes() -> None:
    async with running_worker() as worker:
        answer = await generate(worker.stub, "Bonjour", max_tokens=12, seed=7, attempt=3)

    assert answer.accepted.prompt_tokens == len("Bonjour") + 1
    assert answer.accepted.seed == 7
    assert answer.finish.reason == generation_pb2.FINISH_REASON_LENGTH
    assert answer.finish.usage.prompt_tokens == answer.accepted.prompt_tokens
    assert answer.finish.usage.completion_tokens == 12
    assert {frame.attempt for frame in answer.frames} == {3}
    assert sum(frame.HasField("accepted") for frame in answer.frames) == 1
    assert sum(frame.HasField("finish") for frame in answer.frames) == 1


async def test_joined_frames_are_the_text_for_a_thousand_seeds_with_split_characters() -> None:
    async with running_worker(slots=32, queue_requests=1000) as worker:

        async def check(seed: int) -> None:
            length = 1 + seed % 60
            answer = await generate(worker.stub, max_tokens=length, seed=seed)
            tokens = fake_text.answer(seed, 0, length)
            assert answer.tokens == tokens
            assert answer.text == fake_text.decode(tokens)
            assert _indices_follow(answer)

        for first in range(0, 1000, 200):
            await asyncio.gather(*(check(seed) for seed in range(first, first + 200)))


async def test_a_character_split_over_tokens_comes_whole() -> None:
    seed = _seed_with_a_split_character()
    async with running_worker(plan="tpot=1ms") as worker:
        answer = await generate(worker.stub, max_tokens=8, seed=seed)

    assert any(token < fake_text.FIRST_WORD for token in answer.tokens)
    assert "\ufffd" not in answer.text
    assert answer.text == fake_text.decode(answer.tokens)


async def test_what_is_ready_travels_in_one_frame() -> None:
    async with running_worker(plan="tpot=1ms") as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=200, seed=1))
        await stream.until(lambda answer: answer.tokens)
        time.sleep(0.2)  # noqa: ASYNC251 - the worker shares this loop: nothing is sent meanwhile
        answer = await stream.rest()

    assert len(answer.tokens) == 200
    assert max(len(frame.token_ids) for frame in answer.frames) > 50
    assert len(answer.frames) < 160


async def test_a_stream_without_tokens_beats_with_the_engines_steps() -> None:
    async with running_worker(plan="ttft=2.3s") as worker:
        answer = await generate(worker.stub, max_tokens=2, seed=1)

    steps = [frame.engine_step for frame in answer.heartbeats]
    assert len(steps) == 2
    assert answer.accepted
    assert answer.frames[0].engine_step < steps[0] < steps[1]


async def test_the_heartbeat_of_a_stuck_engine_stands_still() -> None:
    async with running_worker(plan="hang@3") as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=9, seed=1))
        answer = await stream.until(lambda answer: len(answer.heartbeats) == 2)
        stream.cancel()

    assert len(answer.tokens) == 3
    assert len({frame.engine_step for frame in answer.heartbeats}) == 1
    assert {frame.first_index for frame in answer.heartbeats} == {3}


async def test_a_seed_is_drawn_told_and_enough_to_repeat_the_answer() -> None:
    async with running_worker() as worker:
        first = await generate(worker.stub, max_tokens=30)
        other = await generate(worker.stub, max_tokens=30)
        again = await generate(worker.stub, max_tokens=30, seed=first.accepted.seed)

    assert first.accepted.seed != other.accepted.seed
    assert again.tokens == first.tokens != other.tokens


async def test_the_longest_seed_is_honoured() -> None:
    async with running_worker() as worker:
        answer = await generate(worker.stub, max_tokens=8, seed=LIMITS.seed)
    assert answer.tokens == fake_text.answer(LIMITS.seed, 0, 8)


async def test_a_stop_string_cuts_the_text_and_is_named() -> None:
    whole = fake_text.decode(fake_text.answer(5, 0, 60))
    stop = whole[40:47]
    async with running_worker(plan="tpot=1ms") as worker:
        answer = await generate(worker.stub, max_tokens=60, seed=5, stop=[stop, "never there"])

    assert answer.text == whole[: whole.index(stop)]
    assert answer.finish.reason == generation_pb2.FINISH_REASON_STOP
    assert answer.finish.stop_match == stop
    assert answer.finish.usage.completion_tokens == len(answer.tokens) < 60


async def test_a_stop_token_ends_the_sequence_after_min_tokens() -> None:
    tokens = fake_text.answer(5, 0, 60)
    async with running_worker() as worker:
        early = await generate(worker.stub, max_tokens=60, seed=5, stop_token_ids=[tokens[9]])
        late = await generate(
            worker.stub, max_tokens=60, min_tokens=60, seed=5, stop_token_ids=[tokens[9]]
        )

    assert len(early.tokens) == tokens.index(tokens[9]) + 1
    assert early.finish.reason == generation_pb2.FINISH_REASON_STOP
    assert late.tokens == tokens


async def test_logprobs_come_for_every_token_and_for_the_prompt() -> None:
    async with running_worker() as worker:
        answer = await generate(
            worker.stub, "é", max_tokens=24, seed=2, logprobs=3, prompt_logprobs=1
        )

    logprobs = [each for frame in answer.frames for each in frame.logprobs]
    assert [each.chosen.token_id for each in logprobs] == answer.tokens
    assert b"".join(each.chosen.token_bytes for each in logprobs).decode() == answer.text
    assert {len(each.top) for each in logprobs} == {3}
    assert all(each.rank == 1 and each.chosen.logprob < 0 for each in logprobs)
    prompt = [each.chosen.token_bytes for each in answer.finish.prompt_logprobs]
    assert b"".join(prompt).decode() == "é"


async def test_absent_sampling_fields_take_the_models_defaults_and_context() -> None:
    async with running_worker() as worker:
        answer = await generate(worker.stub, "x" * 2000)
        room = worker.engine.model.max_model_len - answer.accepted.prompt_tokens

    assert answer.finish.reason == generation_pb2.FINISH_REASON_LENGTH
    assert len(answer.tokens) == room


async def test_text_tokens_and_chat_are_all_prompts() -> None:
    turns = [
        generation_pb2.ChatMessage(role=generation_pb2.ROLE_SYSTEM, content="Sois bref."),
        generation_pb2.ChatMessage(role=generation_pb2.ROLE_USER, content="Ça va ?"),
    ]
    chat = generation_pb2.Prompt(chat=generation_pb2.ChatMessages(messages=turns))
    tokens = generation_pb2.Prompt(tokens=generation_pb2.TokenIds(ids=[0, 100, 101]))
    french = worker_pb2.SequenceRequest(
        prompt=generation_pb2.Prompt(text="Salut"), language="fr", sampling=_one_token()
    )
    async with running_worker() as worker:
        counts = [
            (await generate(worker.stub, request)).accepted.prompt_tokens
            for request in (
                worker_pb2.SequenceRequest(prompt=chat, sampling=_one_token()),
                worker_pb2.SequenceRequest(prompt=tokens, sampling=_one_token()),
                french,
            )
        ]

    framed_chat = len("Sois bref.") + len("Ça va ?".encode()) + 6
    assert counts == [framed_chat, 3, len("Salut") + 2]


async def test_a_thousand_streams_at_once_each_get_their_own_text() -> None:
    async with running_worker(slots=64, queue_requests=1000, plan="tpot=1ms") as worker:
        seeds = random.Random(3).sample(range(10**6), 1000)
        answers = await asyncio.gather(
            *(generate(worker.stub, max_tokens=1 + seed % 9, seed=seed) for seed in seeds)
        )

    for seed, answer in zip(seeds, answers, strict=True):
        assert answer.tokens == fake_text.answer(seed, 0, 1 + seed % 9)


def _indices_follow(answer: Answer) -> bool:
    index = 0
    for frame in answer.frames:
        if frame.first_index != index:
            return False
        index += len(frame.token_ids)
    return True


def _seed_with_a_split_character() -> int:
    return next(
        seed for seed in range(100) if min(fake_text.answer(seed, 0, 8)) < fake_text.FIRST_WORD
    )


def _one_token() -> generation_pb2.SamplingParams:
    return generation_pb2.SamplingParams(max_tokens=1)
