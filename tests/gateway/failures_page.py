"""The table of docs/operations/failures.md, as the code has it."""

from __future__ import annotations

from pathlib import Path

from avikam.gateway.sequence.failure import MEANING, Again, Blame, Kind, When

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "failures.md"
HEAD = "| kind | another try | pause | charged | worker's breaker | pool's breaker | a suspect |"

_AGAIN = {
    Again.NO: "no",
    Again.ONCE: "on one other worker",
    Again.YES: "yes",
}
_WHEN = {
    When.NEVER: "",
    When.BEGUN: "once begun",
    When.MANY_LOST: "while half of the pool is lost",
    When.ALWAYS: "yes",
}
_BLAME = {
    Blame.NOTHING: "",
    Blame.FAILURE: "a failure",
    Blame.IF_OTHERS_CAN: "a failure if another worker can",
    Blame.OPENS: "opens",
}


def rows() -> list[str]:
    """A row per kind."""
    return [_row(kind) for kind in Kind]


def _row(kind: Kind) -> str:
    meaning = MEANING[kind]
    cells = (
        f"`{kind.value}`",
        _AGAIN[meaning.again],
        _WHEN[meaning.pause],
        _WHEN[meaning.charged],
        _BLAME[meaning.worker],
        "a failure" if meaning.pool else "",
        "yes" if meaning.suspect else "",
    )
    return "| " + " | ".join(cells) + " |"
