"""F1 exhaustively: the real model, a stream that breaks at an index, another worker, every byte.

Two workers of the embedded model on the CPU. Whichever gets a request first loses its stream after
as many tokens as the request's own id says (``x-request-id: cut-17``), as a kill would; the other
one continues. The answer must be that of the unbroken run: text, ids, logprobs, finish, usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from avikam.engine.fault_plan import INJECTED
from avikam.engine.interface import Delta, Engine, Finish, FinishReason, SequenceSpec, Sink
from avikam.worker.engines import build_engine
from avikam.worker.settings import WorkerSettings
from tests.gateway.harness import RunningGateway, gateway_to
from tests.worker.harness import running_worker

TOKENS = 40
_CUT = re.compile(r"cut-(\d+)")
_PROMPT = "Traduis en anglais : Le petit chat dort sur la chaise près de la fenêtre."
_SCHEMA = {
    "type": "object",
    "properties": {"ville": {"type": "string", "maxLength": 8}, "prix": {"type": "integer"}},
    "required": ["ville", "prix"],
    "additionalProperties": False,
}
# How tokens may be chosen: what a continuation has to rebuild differs in each.
MODES: Mapping[str, Mapping[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1.0, "seed": 11},
    "penalties": {
        "temperature": 0.8,
        "seed": 3,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.4,
        "top_k": 40,
        "top_p": 0.9,
    },
    # A stop string that never comes holds text back, at every index a little.
    "stop string": {"temperature": 1.0, "seed": 5, "stop": ["e\u2063", "s\u2063", " \u2063"]},
    "JSON schema": {"temperature": 1.0, "seed": 7, "json_schema": _SCHEMA},
    "n = 2": {"temperature": 1.0, "seed": 13, "n": 2},
    "logprobs": {"temperature": 0.7, "seed": 17, "logprobs": 5, "prompt_logprobs": 1},
}


class CuttingEngine:
    """An engine whose streams break at the index that their request names, once per sequence.

    ``cut`` is shared by all engines of a test: the one that continues must not break again.
    """

    def __init__(self, engine: Engine, cut: set[str]) -> None:
        self._engine = engine
        self._cut = cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, spec: SequenceSpec, sink: Sink) -> None:
        """Submit; the first attempt of a marked sequence gets a sink that breaks."""
        asked = _CUT.search(spec.request_id)
        # The worker adds an ordinal of its own to the gateway's id.
        sequence = spec.request_id.rpartition("#")[0]
        if asked is None or sequence in self._cut:
            self._engine.submit(spec, sink)
            return
        self._cut.add(sequence)
        self._engine.submit(spec, _Breaking(self._engine, spec, sink, int(asked[1])))


class _Breaking:
    """A sink that passes on what comes before an index, and then says that the stream broke."""

    def __init__(self, engine: Engine, spec: SequenceSpec, sink: Sink, index: int) -> None:
        self._engine = engine
        self._spec = spec
        self._sink = sink
        self._index = index
        self._broken = False

    def __call__(self, delta: Delta) -> None:
        if self._broken:
            return
        if delta.first_index + len(delta.tokens) <= self._index and delta.finish is None:
            self._sink(delta)
            return
        self._broken = True
        finish = Finish(FinishReason.ERROR, len(self._spec.prompt), 0, error=f"{INJECTED}drop")
        self._sink(Delta(delta.first_index, finish=finish))
        self._engine.cancel(self._spec.request_id)


@contextlib.asynccontextmanager
async def cutting_cluster() -> AsyncIterator[RunningGateway]:
    """A gateway and two workers of the embedded model; ``engine="fake"`` lets faults through."""
    cut = set[str]()

    def build(settings: WorkerSettings) -> Engine:
        real = settings.model_copy(update={"engine": "real", "threads": 1})
        return CuttingEngine(build_engine(real), cut)

    async with (
        running_worker(build) as first,
        running_worker(build) as second,
        gateway_to(first, second) as gateway,
    ):
        yield gateway


async def differing(gateway: RunningGateway, mode: str, indexes: Iterable[int]) -> list[int]:
    """Indexes at which a break changes the answer of a mode."""
    wanted = await _answer(gateway, mode, "whole")
    assert wanted["usage"]["completion_tokens"] >= 10, wanted
    found = []
    for group in _groups(list(indexes), 8):
        answers = await asyncio.gather(
            *(_answer(gateway, mode, f"cut-{index}-{mode[0]}{len(mode)}") for index in group)
        )
        pairs = zip(group, answers, strict=True)
        found += [index for index, answer in pairs if answer != wanted]
    return found


def _groups(values: list[int], size: int) -> Iterable[list[int]]:
    return (values[at : at + size] for at in range(0, len(values), size))


async def _answer(gateway: RunningGateway, mode: str, request_id: str) -> dict[str, Any]:
    """The stream, joined: whatever its pieces were, this is what the client has at the end."""
    body = {"prompt": _PROMPT, "max_tokens": TOKENS, "stream": True, **MODES[mode]}
    answer: dict[str, Any] = {}
    async with gateway.client.stream(
        "POST", "/generate", json=body, headers={"x-request-id": request_id}
    ) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                _join(answer, json.loads(line.removeprefix("data: ")))
            elif line == "data: [DONE]":
                answer["done"] = True
    return answer


def _join(answer: dict[str, Any], event: dict[str, Any]) -> None:
    if "usage" in event:
        answer["usage"] = event["usage"]
        # How much of the prompt came from a cache is the second worker's own affair.
        answer["usage"].pop("prompt_tokens_details", None)
    elif "error" in event:
        answer["error"] = event["error"]
    else:
        choice = answer.setdefault(f"choice {event['index']}", {"text": "", "logprobs": []})
        choice["text"] += event["text"]
        choice["logprobs"] += event.get("logprobs", [])
        choice["finish_reason"] = event["finish_reason"] or choice.get("finish_reason")
