"""What a worker's status may say. One that says more than can be is not sent anything."""

from __future__ import annotations

import math

from avikam.v1 import worker_pb2

_MOST_ADAPTERS = 4096
_MOST_NAME = 256
# Sequences on one worker at once, running and waiting.
_MOST_ROOM = 1_000_000


def implausible(status: worker_pb2.WorkerStatus) -> str:
    """What cannot be about a status; empty for one that can be believed."""
    return _too_much(status) or _too_little(status)


def _too_much(status: worker_pb2.WorkerStatus) -> str:
    model, room = status.model, status.slots_total + status.queue_limit
    if len(status.adapters) > _MOST_ADAPTERS:
        return f"{len(status.adapters)} adapters, at most {_MOST_ADAPTERS} are believed"
    if room > _MOST_ROOM:
        return f"room for {room} sequences, at most {_MOST_ROOM} are believed"
    if max(len(model.id), *(len(adapter.name) for adapter in status.adapters), 0) > _MOST_NAME:
        return f"a name of more than {_MOST_NAME} characters"
    if not math.isfinite(status.stalled_seconds):
        return "a time that is no number"
    return ""


def _too_little(status: worker_pb2.WorkerStatus) -> str:
    model = status.model
    if status.state != worker_pb2.WORKER_STATE_READY:
        return ""
    if not (model.id and model.vocab_size and model.max_model_len and status.slots_total):
        return "that it is ready, and a model without name, vocabulary, context or slots"
    return ""
