"""What a check has found, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """GOOD holds; ABSENT is optional and not there; WARNED may be meant so; BROKEN must be repaired
    before it serves.
    """

    GOOD = "good"
    ABSENT = "absent"
    WARNED = "warned"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it if anything."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding for programs."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def good(name: str, detail: str) -> Finding:
    """It holds."""
    return Finding(name, Verdict.GOOD, detail)


def warned(name: str, detail: str, remedy: str) -> Finding:
    """Somebody should know."""
    return Finding(name, Verdict.WARNED, detail, remedy)


def broken(name: str, detail: str, remedy: str) -> Finding:
    """It must be repaired first."""
    return Finding(name, Verdict.BROKEN, detail, remedy)
