"""What an engine is to the worker: submit sequences, receive deltas, cancel, look, stop.

The engine owns a thread; ``sink`` is called from that thread and must not block. After a delta
with ``finish`` set, the sink is never called again: every sequence ends exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from avikam.model.vocabulary.protocol import TokenizerFacts
from avikam.protocol.sampling import SamplingParams


class FinishReason(Enum):
    """Why a sequence ended. ``FAILED``: the engine did, under all that ran; another one may go on.
    ``ERROR``: this sequence alone cannot be computed."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SequenceSpec:
    """One sequence to run.

    ``generated`` are tokens that another engine already produced for it: generation continues at
    index ``len(generated)``, and seeds, penalties, stop strings and text offsets count them.
    ``deadline`` is a ``time.monotonic()`` value.
    """

    request_id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    generated: tuple[int, ...] = ()
    adapter: str = ""
    tenant: str = ""
    priority: int = 0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A token with its logprob, and the rank it had (1 is the most likely)."""

    token: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one sequence, and prompt tokens that a cache spared."""

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """How a sequence ended. Usage counts resumed tokens too."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    timings: Timings = Timings()
    stop_match: str = ""
    error: str = ""
    prompt_choices: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """News of one sequence: tokens from ``first_index`` on, and text that became certain."""

    first_index: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    choices: tuple[TokenChoice, ...] = ()
    finish: Finish | None = None


Sink = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """A loaded adapter: ``name`` is what clients say, ``digest`` (of its content) what it is."""

    name: str
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class KvStats:
    """Prefix reuse since the engine began; ``host_bytes``, ``host_entries``, ``remote_open`` now.

    ``device_hits`` found their prefix in a free slot, where nothing had to be copied.
    ``remote_raw_bytes`` were compressed to ``remote_written_bytes``. ``spared_seconds`` is what
    computing the spared tokens would have taken at the pace measured last.
    """

    device_hits: int = 0
    host_hits: int = 0
    host_misses: int = 0
    host_entries: int = 0
    host_bytes: int = 0
    host_evictions: int = 0
    remote_hits: int = 0
    remote_misses: int = 0
    remote_late: int = 0
    remote_corrupt: int = 0
    remote_errors: int = 0
    remote_dropped: int = 0
    remote_writes: int = 0
    remote_read_bytes: int = 0
    remote_written_bytes: int = 0
    remote_raw_bytes: int = 0
    remote_open: int = 0
    spared_tokens: int = 0
    spared_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A consistent look at the engine, cheap enough for every heartbeat."""

    slots_total: int
    slots_used: int
    waiting: int
    load_tokens: int
    step: int
    stalled_seconds: float
    tokens_per_second: float
    queue_limit: int
    adapters: tuple[AdapterInfo, ...] = ()
    # None where prefixes are not reused.
    kv: KvStats | None = None
    # False once the engine's thread has ended, whatever ended it.
    alive: bool = True


@dataclass(frozen=True, slots=True)
class EngineModel:
    """What the engine runs, for ``/info`` and ``/v1/models``. ``numerics`` is the same for two
    engines only if one may go on with what the other began; empty where nobody knows."""

    id: str
    max_model_len: int
    vocab_size: int
    parameters: int
    weights: str
    digest: str
    attention_backend: str
    device: str
    created: int
    default_sampling: SamplingParams
    numerics: str = ""
    # Of an imported model: where it comes from, and what is known of it.
    source: str = ""
    revision: str = ""
    licence: str = ""
    quantisation: str = ""
    end_ids: tuple[int, ...] = ()


class Engine(Protocol):
    """The one interface behind which the real and the fake engine stand."""

    @property
    def model(self) -> EngineModel:
        """What it runs: the same for its whole life."""

    def prepare(self, sampling: SamplingParams) -> None:
        """Do what takes long before a submission (compile its grammar); call it off the loop.

        Raises the 400 that :meth:`submit` would raise.
        """

    def prepared(self, sampling: SamplingParams) -> bool:
        """Whether :meth:`prepare` would have nothing to do."""

    def submit(self, spec: SequenceSpec, sink: Sink) -> None:
        """Queue a sequence.

        Raises :class:`~avikam.protocol.errors.ApiError`: 400 what can never fit or is out of
        range, 429 when the queue is full, 503 when the engine is closing.
        """

    def cancel(self, request_id: str) -> None:
        """End a sequence within one step; unknown ids are ignored."""

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Ids of a document to continue, frame included."""

    def encode_plain(self, text: str) -> list[int]:
        """Ids of the text alone."""

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Ids of (role, content) turns up to where the assistant answers.

        Raises a 400 in the words of a chat template that does not take them.
        """

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        """(id, start, stop) of each token of ``text``, in characters; ``framed`` as a prompt is."""

    def facts(self) -> TokenizerFacts:
        """What ``/tokenizer_info`` tells."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids."""

    def piece(self, token: int) -> str:
        """Vocabulary entry of an id."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes an id stands for; empty for control tokens."""

    def load_adapter(self, name: str, path: str) -> AdapterInfo:
        """Make the adapter folder ``path`` (inside the adapter root) known as ``name``."""

    def unload_adapter(self, name: str) -> None:
        """Forget a name; sequences that use it finish with it."""

    def stats(self) -> EngineStats:
        """How busy it is now, and what it has done so far; cheap enough for every scrape."""

    def close(self, timeout: float = 10.0) -> None:
        """Cancel what runs and end the thread."""
