"""The attackers, in a process of their own: so many clients at once, of all shapes or of some.

python -m tests.hostile.attack HOST PORT GRPC_PORT KEY SECONDS CLIENTS [SHAPE ...]

A line says that all is prepared and begins. The last one is JSON: how often each shape ended how.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import grpc

from tests.hostile.shapes import SHAPES
from tests.hostile.wire import Target

Outcomes = Mapping[str, Mapping[str, int]]

# What hostile clients meet, too: a connection that is cut, a reply that takes too long.
_EXPECTED = (OSError, TimeoutError, EOFError, grpc.aio.AioRpcError, asyncio.InvalidStateError)
_BREATH = 0.05


async def attack(target: Target, seconds: float, clients: int, names: Sequence[str]) -> Outcomes:
    """Send for so long; how the requests ended, by shape."""
    ended: defaultdict[str, Counter[str]] = defaultdict(Counter)
    until = asyncio.get_running_loop().time() + seconds

    async def client(name: str) -> None:
        begun = ended[name]
        for number in itertools.count():
            if asyncio.get_running_loop().time() > until:
                return
            try:
                outcome = await SHAPES[name].send(target, number)
            except _EXPECTED as error:
                outcome = type(error).__name__
            begun[outcome] += 1
            await asyncio.sleep(_BREATH)

    chosen = itertools.islice(itertools.cycle(names), clients)
    running = [asyncio.create_task(client(name)) for name in chosen]
    await asyncio.wait(running, timeout=seconds + 5)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return ended


def main() -> None:
    host, port, grpc_port, key, seconds, clients, *names = sys.argv[1:]
    target = Target(host, int(port), int(grpc_port), key)
    chosen = names or list(SHAPES)
    for name in chosen:
        SHAPES[name].prepare()
    print("ready", flush=True)
    print(json.dumps(asyncio.run(attack(target, float(seconds), int(clients), chosen))))


if __name__ == "__main__":
    main()
