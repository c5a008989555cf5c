"""All drills, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from tests.faults.drill import Drill
from tests.faults.families import (
    clients,
    clocks,
    deaths,
    errors,
    exceptions,
    network,
    overload,
    rollout,
    shared_state,
    versions,
)

FAMILIES: tuple[Callable[[], Iterator[Drill]], ...] = (
    deaths.drills,
    errors.drills,
    network.drills,
    shared_state.drills,
    clocks.drills,
    clients.drills,
    overload.drills,
    rollout.drills,
    versions.drills,
    exceptions.drills,
)


def catalogue() -> list[Drill]:
    """Every drill once."""
    return sorted(chain.from_iterable(f() for f in FAMILIES), key=lambda drill: int(drill.id[1:]))


def select(names: Iterable[str]) -> list[Drill]:
    """Drills by number, ranges included: F1 F3-F5; all for none. Raises ValueError."""
    wanted = {number for name in names for number in _numbers(name)}
    drills = catalogue()
    known = {int(drill.id[1:]) for drill in drills}
    if unknown := {n for name in names if "-" not in name for n in _numbers(name)} - known:
        raise ValueError(f"no drill F{min(unknown)}; there are F{', F'.join(map(str, known))}")
    return [drill for drill in drills if not wanted or int(drill.id[1:]) in wanted]


def _numbers(name: str) -> range:
    first, _, last = name.upper().replace("F", "").partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise ValueError(
            f"{name!r} is neither a fault such as F1 nor a range such as F1-F5"
        ) from None
