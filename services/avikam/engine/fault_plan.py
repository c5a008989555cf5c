"""What should go wrong, and when: the fake engine's script, in a line of text.

    ttft=20ms,tpot=2ms,die@17           pace, and SIGKILL instead of the token of index 17
    slow=100ms@3%10,seed=7              from index 3 on 100 ms a token, in 10 % of the requests
    drop@9#2,refuse#1                   the second request ends without a finish, the first never
                                        starts
    die@0~poison                        kills the worker that reads a prompt with that word

An item is ``name[=duration][@index][#ordinal][%percent][~word]``. Indices count all generated
tokens of a sequence, resumed ones included; ordinals count the requests of this engine from 1.
A sequence resumed beyond a fault's index does not meet it.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from enum import Enum


class PlanError(ValueError):
    """A fault plan that cannot be read."""


class FaultKind(Enum):
    """What can go wrong with a sequence."""

    DIE = "die"  # SIGKILL of the whole worker, after the tokens before were written
    CRASH = "crash"  # the engine's loop dies of an exception, the worker's RPCs live
    HANG = "hang"  # the engine's loop stops, the worker's RPCs live
    FREEZE = "freeze"  # one C call keeps the interpreter's lock for the duration
    SLOW = "slow"  # each token from here on takes the duration
    DROP = "drop"  # the RPC ends as if all were well, without a finish
    GARBLE = "garble"  # one token comes with an index of the future
    REPEAT = "repeat"  # one token comes twice
    ERROR = "error"  # the RPC ends with UNAVAILABLE
    NAN = "nan"  # the row ends as one whose logits are not numbers
    REFUSE = "refuse"  # UNAVAILABLE instead of admission


_TIMED = (FaultKind.FREEZE, FaultKind.SLOW)

# Faults of the stream itself are told in band: the sequence ends with ERROR and this mark, and the
# worker's fault injection acts on it once every frame before it is on its way.
INJECTED = "injected fault: "


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong when a sequence reaches index ``at``, and for whom."""

    kind: FaultKind
    at: int = 0
    seconds: float = 0.0
    ordinal: int | None = None
    probability: float = 1.0
    word: str = ""

    def applies(self, ordinal: int, prompt: str, chance: float) -> bool:
        """Whether the request is one of those it is meant for. ``chance`` is in [0, 1)."""
        return self.ordinal in (None, ordinal) and chance < self.probability and self.word in prompt


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Pace in seconds, and faults. The default is an engine without delay or fault."""

    ttft: float = 0.0
    tpot: float = 0.0
    seed: int = 0
    faults: tuple[Fault, ...] = field(default=())

    @classmethod
    def parse(cls, text: str) -> FaultPlan:
        """Read the text form; empty is the default plan."""
        items = [_Item.parse(item.strip()) for item in text.split(",") if item.strip()]
        return cls(
            ttft=_pace(items, "ttft"),
            tpot=_pace(items, "tpot"),
            seed=next((item.integer() for item in items if item.name == "seed"), 0),
            faults=tuple(item.fault() for item in items if item.name not in _SETTINGS),
        )

    def draw(self, ordinal: int, prompt: str) -> tuple[Fault, ...]:
        """The faults that one request meets, in the order of their indices."""
        chosen = [
            fault
            for number, fault in enumerate(self.faults)
            if fault.applies(ordinal, prompt, self._chance(ordinal, number))
        ]
        return tuple(sorted(chosen, key=lambda fault: fault.at))

    def _chance(self, ordinal: int, number: int) -> float:
        return random.Random(f"{self.seed}/{ordinal}/{number}").random()


_SETTINGS = ("ttft", "tpot", "seed")
_NAMES = (*_SETTINGS, *(kind.value for kind in FaultKind))
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)")
_ITEM = re.compile(
    r"(?P<name>[a-z]+)(=(?P<value>[\w.]+))?(@(?P<at>\d+))?"
    r"(#(?P<ordinal>\d+))?(%(?P<percent>\d+(\.\d+)?))?(~(?P<word>\S+))?"
)


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of the text form, before it has a meaning."""

    text: str
    name: str
    value: str | None
    at: int
    ordinal: int | None
    percent: float
    word: str

    @classmethod
    def parse(cls, text: str) -> _Item:
        match = _ITEM.fullmatch(text)
        if match is None:
            raise PlanError(
                f"fault plan item {text!r} is not "
                "name[=duration][@index][#ordinal][%percent][~word]"
            )
        if match["name"] not in _NAMES:
            raise PlanError(f"fault plan item {text!r}: known names are {', '.join(_NAMES)}")
        return cls(
            text=text,
            name=match["name"],
            value=match["value"],
            at=int(match["at"] or 0),
            ordinal=int(match["ordinal"]) if match["ordinal"] else None,
            percent=float(match["percent"] or 100),
            word=match["word"] or "",
        )

    def seconds(self) -> float:
        match = _DURATION.fullmatch(self.value or "")
        if match is None:
            raise PlanError(
                f"fault plan item {self.text!r} needs a duration such as {self.name}=20ms"
            )
        return float(match[1]) * _UNITS[match[2]]

    def integer(self) -> int:
        if self.value is None or not self.value.isdigit():
            raise PlanError(f"fault plan item {self.text!r} needs a number such as {self.name}=7")
        return int(self.value)

    def fault(self) -> Fault:
        kind = FaultKind(self.name)
        if kind not in _TIMED and self.value is not None:
            raise PlanError(f"fault plan item {self.text!r}: {self.name} takes no duration")
        seconds = self.seconds() if kind in _TIMED else 0.0
        return Fault(kind, self.at, seconds, self.ordinal, self.percent / 100, self.word)


def _pace(items: list[_Item], name: str) -> float:
    return next((item.seconds() for item in items if item.name == name), 0.0)
