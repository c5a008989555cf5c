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
    return sorted(chain.from_iterable(f() for f in FAMILIES), key=lambda drill: place(drill.id))


def place(fault: str) -> tuple[int, str]:
    """Where a fault stands in the table: F1, F1x, F2 ..."""
    return number(fault), fault


def number(fault: str) -> int:
    """Its number in the failure catalogue; a letter marks a variant."""
    return int(fault[1:].rstrip("x"))


def select(names: Iterable[str]) -> list[Drill]:
    """Drills by name, ranges included: F1 F3-F5; all for none. Raises ValueError."""
    drills, chosen = catalogue(), list(names)
    found = [drill for drill in drills if not chosen or any(map(_matcher(drill.id), chosen))]
    for name in chosen:
        if not any(_matcher(drill.id)(name) for drill in drills):
            raise ValueError(f"no drill {name}; there are {', '.join(d.id for d in drills)}")
    return found


def _matcher(fault: str) -> Callable[[str], bool]:
    """Whether a name or a range means this fault."""
    return lambda name: (
        name.lower() == fault.lower() or ("-" in name and number(fault) in _range(name))
    )


def _range(name: str) -> range:
    first, _, last = name.upper().replace("F", "").partition("-")
    try:
        return range(int(first), int(last) + 1)
    except ValueError:
        raise ValueError(
            f"{name!r} is neither a fault such as F1 nor a range such as F1-F5"
        ) from None
