"""What the cold forms of a real model's keys and values weigh, how fast they are, when they pay.

The text is the model's own, so keys and values are those of a conversation, not of noise.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import cramjam
import torch

from avikam.engine.kv.block import BlockFormat
from avikam.engine.kv.codec import CODECS, ColdForm
from avikam.engine.kv.divergence import Divergence, measure_divergence
from avikam.engine.kv.keys import PrefixChain, root_key, seal_key
from avikam.engine.kv.redis_tier import RedisTier
from avikam.engine.sampler import SamplingRow, sample
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import Snapshot
from avikam.model.steps import StepModel
from avikam.protocol.sampling import SamplingParams

T = TypeVar("T")
_STEP = 64
_KEY = bytes(32)
_FORMS: tuple[tuple[str, ColdForm, bool], ...] = (
    ("raw", "exact", False),
    ("Snappy alone", "exact", True),
    ("int8", "int8", False),
    ("int8 + Snappy", "int8", True),
)


@dataclass(frozen=True, slots=True)
class FormFigures:
    """One cold form: its bytes, how often they fit into the float state, and MiB/s of the latter.

    ``against_dense``: how often it fits into the keys and values of all tokens in 16-bit floats.
    """

    form: str
    bytes: int
    ratio: float
    against_dense: float
    encode_mib_s: float
    decode_mib_s: float


@dataclass(frozen=True, slots=True)
class KvFigures:
    """One run. Break-even: tokens from which copying beats computing; none when never, or unknown.

    ``int8``: what an int8 copy of a float state costs.
    """

    tokens: int
    attention: str
    prefill_tokens_per_second: float
    forms: tuple[FormFigures, ...]
    int8: Divergence
    host_restore_ms: float
    host_break_even: int | None
    redis_restore_ms: float | None
    redis_break_even: int | None

    def as_json(self) -> dict[str, object]:
        """The figures by name."""
        return asdict(self)


class KvBench:
    """Times saving, cold forms and restoring: of the engine's own slots, and of bfloat16 ones."""

    def __init__(
        self, models: tuple[StepModel, StepModel], caches: tuple[SlotState, SlotState]
    ) -> None:
        self._cache, self._floats = caches
        self._models = dict(zip(caches, models, strict=True))

    @torch.inference_mode()
    def run(self, tokens: int, redis: RedisTier | None = None) -> KvFigures:
        """Measure with a context of ``tokens``, and as many texts as there are slots."""
        if tokens < 3 * _STEP:
            raise ValueError(f"tokens is {tokens}, measure with {3 * _STEP} or more")
        texts = self._own_texts(tokens)
        text = texts[0]
        lengths = range(_STEP, tokens, _STEP)
        compute = {n: self._recompute(text[:n]) for n in (lengths[0], lengths[-1])}
        self._prefill(self._floats, text)
        self._prefill(self._cache, text)
        host = [(n, self._host_seconds(n)) for n in lengths]
        far = [] if redis is None else [(n, self._redis_seconds(text[:n], redis)) for n in lengths]
        return KvFigures(
            tokens=tokens,
            attention=self._cache.name,
            prefill_tokens_per_second=lengths[-1] / compute[lengths[-1]],
            forms=tuple(self._forms(tokens)),
            int8=measure_divergence(self._floats, self._prefill, texts),
            host_restore_ms=host[-1][1] * 1e3,
            host_break_even=_break_even(host, compute),
            redis_restore_ms=far[-1][1] * 1e3 if far else None,
            redis_break_even=_break_even(far, compute),
        )

    def _own_texts(self, length: int) -> list[list[int]]:
        """Tokens that the model samples from a begin-of-sequence token, a text in each slot."""
        slots, never = tuple(range(self._cache.slots)), torch.tensor([0, 1, 2])
        params = SamplingParams(temperature=0.8)
        texts = [[1] for _ in slots]
        for position in range(length - 1):
            plan = StepPlan(slots, (position,) * len(slots))
            logits = self._forward(self._cache, plan, [text[-1] for text in texts])
            rows = [SamplingRow(params, s, position + 1, frozenset(), Counter()) for s in slots]
            for text, chosen in zip(texts, sample(logits, rows, never), strict=True):
                if chosen is None:
                    raise ValueError("the model's logits are not numbers")
                text.append(chosen.token)
        return texts

    def _forward(self, cache: SlotState, plan: StepPlan, tokens: Sequence[int]) -> torch.Tensor:
        model = self._models[cache]
        cache.begin(plan)
        return model.logits(model(torch.tensor(tokens), plan.positions(), cache.attend))

    def _prefill(self, cache: SlotState, tokens: Sequence[int], start: int = 0) -> torch.Tensor:
        """Logits of the last chunk."""
        size = cache.longest_chunk
        for position in range(start, len(tokens), size):
            piece = tokens[position : position + size]
            logits = self._forward(
                cache, StepPlan((), (), (Chunk(0, position, len(piece)),)), piece
            )
        return logits

    def _recompute(self, tokens: Sequence[int]) -> float:
        return _seconds(lambda: self._prefill(self._cache, tokens))

    def _host_seconds(self, length: int) -> float:
        snapshot = self._cache.snapshot(0, length)
        return _seconds(lambda: self._cache.restore(0, snapshot))

    def _redis_seconds(self, tokens: Sequence[int], redis: RedisTier) -> float:
        """Look-up, transfer, checks, decoding and restoring."""
        length, blocks = len(tokens), BlockFormat(self._cache, "exact")
        chain = PrefixChain(root_key("", "bench"), tokens, 256)
        key, prefix = chain.key(length), chain.prefix(length)
        seal = seal_key("", key)
        block = blocks.encode(self._cache.snapshot(0, length), key, prefix, seal)
        if not redis.put(key, chain.parent(length), length % 256, block):
            raise ConnectionError("Redis does not take a block; is it there, and is there room?")

        def load() -> None:
            redis.longest(chain, length, 0)
            found = redis.get(key)
            if found is None:
                raise ConnectionError("Redis lost a block while it was being measured")
            self._cache.restore(0, blocks.decode(found, key, prefix, seal))

        try:
            return _seconds(load)
        finally:
            redis.delete(key)

    def _forms(self, length: int) -> Iterator[FormFigures]:
        """Every cold form of the float state, and the block of the engine's own state."""
        floats = self._floats.snapshot(0, length)
        config = self._cache.config
        dense = 4 * length * config.num_layers * config.num_kv_heads * config.head_dim
        for name, form, snappy in _FORMS:
            yield _form_figures(self._floats, floats, form, name, dense, snappy=snappy)
        own, blocks = self._cache.snapshot(0, length), BlockFormat(self._cache, "exact")
        prefix = bytes(4 * length)
        block = blocks.encode(own, _KEY, prefix, _KEY)
        yield FormFigures(
            f"block of {self._cache.name}",
            len(block),
            floats.bytes / len(block),
            dense / len(block),
            _mib(floats) / _seconds(lambda: blocks.encode(own, _KEY, prefix, _KEY)),
            _mib(floats) / _seconds(lambda: blocks.decode(block, _KEY, prefix, _KEY)),
        )


def _form_figures(
    cache: SlotState, snapshot: Snapshot, form: ColdForm, name: str, dense: int, *, snappy: bool
) -> FormFigures:
    codec, layers = CODECS[form], range(len(snapshot.layers))
    formats = [cache.entry_formats(i, snapshot.seen) for i in layers]

    def encode() -> list[bytes]:
        raw = (codec.encode(tensors) for tensors in snapshot.layers)
        return [bytes(cramjam.snappy.compress_raw(part)) if snappy else part for part in raw]

    def decode() -> None:
        for part, entry in zip(stored, formats, strict=True):
            raw = cramjam.snappy.decompress_raw(part) if snappy else part
            codec.decode(bytearray(raw), entry)

    stored = encode()
    size = sum(map(len, stored))
    rate = _mib(snapshot)
    return FormFigures(
        name, size, snapshot.bytes / size, dense / size,
        rate / _seconds(encode), rate / _seconds(decode),
    )  # fmt: skip


def _break_even(loads: Sequence[tuple[int, float]], compute: dict[int, float]) -> int | None:
    """First length whose load beats computing it, computing taken as a line between two points."""
    (short, quick), (long, slow) = compute.items()
    pace = (slow - quick) / max(1, long - short)
    return next((n for n, seconds in loads if seconds < quick + pace * (n - short)), None)


def _mib(snapshot: Snapshot) -> float:
    return snapshot.bytes / 2**20


def _seconds(work: Callable[[], T], budget: float = 0.2) -> float:
    """Median seconds of one call, over about ``budget`` seconds, after one to warm up."""
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < budget:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return statistics.median(times)
