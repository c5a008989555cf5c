"""One worker as the gateway sees it: its channel, its last status, our work on it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

from avikam.gateway.resilience.breaker import Breaker
from avikam.gateway.workers.channel import OpenChannel, open_channel
from avikam.gateway.workers.exchange import Exchange
from avikam.gateway.workers.pulse import Pulse
from avikam.v1 import worker_pb2
from avikam.v1.worker_pb2_grpc import WorkerServiceStub

Clock = Callable[[], float]


class Worker:
    """A worker is ready while its status stream is fresh and says so.

    ``load`` is in tokens: what other gateways put there, as of the last status, and what this one
    has there now.
    """

    # A status comes at least every second; a stuck engine loop stalls for longer than this.
    STATUS_LIFETIME = 3.0
    STALL_LIMIT = 10.0
    SLOW_START = 10.0

    def __init__(
        self,
        address: str,
        clock: Clock,
        breaker: Breaker,
        connect: OpenChannel = open_channel,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.hash = zlib.crc32(address.encode())
        self.breaker = breaker
        self.channel = connect(address)
        self.stub = WorkerServiceStub(self.channel)
        self.exchange = Exchange(self.stub)
        self.status: worker_pb2.WorkerStatus | None = None
        self.pulse = Pulse(clock)
        # Whether its process answers so late that others are better asked.
        self.late = False
        self.sequences = 0
        # Of the last status, for every request looks at them: what it runs, what its answers depend
        # on, the sequences it runs at once (slots) and takes at once (room), the ids of tokens and
        # the tokens of a prompt with its answer.
        self.model = self.fingerprint = ""
        self.slots = self.room = self.vocab_size = self.context = 0
        self._serves = False
        self._own_load = 0
        self._others_load = 0
        self._clock = clock
        self._on_change = on_change
        self._status_at = 0.0
        self._ready_since: float | None = None
        self._slow_start = False

    @property
    def load(self) -> int:
        """Tokens this worker has before it."""
        return self._others_load + self._own_load

    @property
    def ready(self) -> bool:
        """Whether it may be sent new sequences."""
        return self._serves and self._clock() < self.ready_until

    @property
    def ready_until(self) -> float:
        """When the last status will be too old, on the monotonic clock."""
        return self._status_at + self.STATUS_LIFETIME

    @property
    def weight(self) -> float:
        """Its share of the traffic: rises from 0.1 to 1 after a restart under load."""
        if not self._slow_start or self._ready_since is None:
            return 1.0
        age = self._clock() - self._ready_since
        if age >= self.SLOW_START:
            self._slow_start = False
            return 1.0
        return 0.1 + 0.9 * age / self.SLOW_START

    @property
    def adapters(self) -> dict[str, str]:
        """Digests of what it has loaded, by name."""
        loaded = () if self.status is None else self.status.adapters
        return {adapter.name: adapter.digest for adapter in loaded}

    def adapter_digest(self, name: str) -> str:
        """What it has loaded under ``name``; empty for nothing."""
        return self.adapters.get(name, "") if name else ""

    def update(self, status: worker_pb2.WorkerStatus, slow_start: bool) -> None:
        """Take in a status. ``slow_start`` is whether others carry the traffic meanwhile."""
        self._status_at = self._clock()
        if self.status is None:
            self._ready_since = self._status_at
            self._slow_start = slow_start
        self.status = status
        self.slots = status.slots_total
        self.room = status.slots_total + status.queue_limit
        self.model = status.model.id
        self.vocab_size, self.context = status.model.vocab_size, status.model.max_model_len
        self.fingerprint = _fingerprint(status)
        self._serves = (
            status.state == worker_pb2.WORKER_STATE_READY
            and not status.draining
            and status.stalled_seconds < self.STALL_LIMIT
        )
        self._others_load = max(status.load_tokens - self._own_load, 0)
        self._on_change()

    def lose(self) -> None:
        """Its status stream broke: not ready until the next status."""
        self.status = None
        self.slots = self.room = 0
        self._serves = False
        self._ready_since = None
        self._others_load = 0
        self._on_change()

    def begin(self, cost: int) -> None:
        """A sequence of ours starts here."""
        self.sequences += 1
        self._own_load += cost

    def end(self, cost: int) -> None:
        """A sequence of ours left."""
        self.sequences -= 1
        self._own_load -= cost

    async def close(self) -> None:
        """Close the channel; calls on it end."""
        await self.exchange.shut()
        await self.channel.close(None)


def _fingerprint(status: worker_pb2.WorkerStatus) -> str:
    """What answers depend on besides the request and its adapter: the worker's own word for it, or
    what else it says of a worker that is older than the word."""
    model = status.model
    parts: tuple[str, ...] = (status.numerics, model.digest)
    if not status.numerics:
        old = (model.weights, model.attention_backend, model.device, status.version)
        parts = (model.digest, *old)
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
