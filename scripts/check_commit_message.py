"""Checks a commit's message: a subject that ``git log --oneline`` shows whole, the why below it.

check_commit_message.py FILE, as git's hook commit-msg calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_SUBJECT = 72
# What git writes itself.
_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
_SCISSORS = "# ------------------------ >8 ------------------------"


def problems(message: str) -> Iterator[str]:
    """What is wrong with a message, a line each."""
    lines = [line for line in _written(message) if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if not subject.strip():
        yield "the first line is empty; say what the commit does"
        return
    if subject.startswith(_BY_GIT):
        return
    if len(subject) > LONGEST_SUBJECT:
        yield (
            f"the first line has {len(subject)} characters, at most {LONGEST_SUBJECT}; "
            "say what it does, and why below an empty line"
        )
    if subject.endswith("."):
        yield "the first line is a title; it ends without a full stop"
    if len(lines) > 1 and lines[1].strip():
        yield "the second line must be empty"


def _written(message: str) -> Iterator[str]:
    """The lines that will be the message; ``git commit -v`` shows the change below the scissors."""
    for line in message.splitlines():
        if line == _SCISSORS:
            return
        yield line


def main() -> int:
    """Exit status: 1 for a message that is not as it should be."""
    found = list(problems(Path(sys.argv[1]).read_text(encoding="utf-8")))
    for problem in found:
        print(f"commit message: {problem}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
