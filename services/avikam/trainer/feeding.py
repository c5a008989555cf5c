"""Batches packed ahead of the training step, each with the mixture's state right after it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass

from avikam.trainer.mixture import Mixture
from avikam.trainer.packing import Batch, pack


@dataclass(frozen=True, slots=True)
class Fed:
    """A batch and what a checkpoint must keep once the batch has been trained on."""

    batch: Batch
    mixture: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


def feed(mixture: Mixture, rows: int, length: int, ahead: int = 2) -> Generator[Fed, None, None]:
    """Endless batches, ``ahead`` of them prepared in a thread while the model computes.

    The thread ends with the generator.
    """
    ready: queue.Queue[Fed | _Failed] = queue.Queue(ahead)
    ended = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(mixture, rows, length, ready, ended), name="feed", daemon=True
    )
    thread.start()
    try:
        while True:
            fed = ready.get()
            if isinstance(fed, _Failed):
                raise fed.error
            yield fed
    finally:
        ended.set()
        thread.join()


def _produce(
    mixture: Mixture,
    rows: int,
    length: int,
    ready: queue.Queue[Fed | _Failed],
    ended: threading.Event,
) -> None:
    examples = iter(mixture)
    while not ended.is_set():
        made: Fed | _Failed
        try:
            made = Fed(pack(examples, rows, length), mixture.state())
        except Exception as error:
            made = _Failed(error)
        while not ended.is_set():
            try:
                ready.put(made, timeout=0.1)
                break
            except queue.Full:
                continue
