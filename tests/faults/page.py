"""The fault table: ``build/bench/faults.json`` keeps what was measured, the page shows it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.catalogue import place
from tests.faults.drill import Drill, Figures, is_time

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench" / "faults.json"
PAGE = ROOT / "docs" / "benchmarks" / "faults.md"
_COLUMNS = ("requests", "failed", "cut", "refused", "lost", "duplicated")
_TIMES = ("gap_p50_s", "gap_p99_s", "recovery_s")


def row(drill: Drill, figures: Figures, *, times: bool = True) -> dict[str, Any]:
    """One object of the results. Without ``times`` only counts are kept and judged."""
    broken = drill.broken(figures, times=times)
    if not times:
        figures = {name: value for name, value in figures.items() if not is_time(name)}
    return {
        "fault": drill.id,
        "name": drill.name,
        "promise": dict(drill.promise),
        "kept": not broken,
        "broken": broken,
        "times": times,
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "rate": drill.rate,
        "tokens": drill.tokens,
        "machine": machine(),
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save(new: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Put one row in the place of its last measurement."""
    rows = {entry["fault"]: entry for entry in load(path)}
    rows[new["fault"]] = dict(new)
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows.values(), key=lambda entry: place(entry["fault"]))
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def load(path: Path = RESULTS) -> list[dict[str, Any]]:
    """All rows measured so far."""
    return json.loads(path.read_text()) if path.exists() else []


def write_page(rows: list[dict[str, Any]], path: Path = PAGE) -> None:
    """Render the rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(rows))


def _half_kept(count: int) -> str:
    if not count:
        return ""
    return (
        f", {count} more in their counts only: others used the machine then, so their times were "
        "not measured"
    )


def page(rows: list[dict[str, Any]]) -> str:
    """The page's text."""
    kept = sum(entry["kept"] and not _unjudged(entry) for entry in rows)
    half = sum(entry["kept"] and _unjudged(entry) for entry in rows)
    head = [
        "# What a fault costs",
        "",
        "Written by `make faults`; not edited by hand. Each line is a real cluster on one machine "
        "(gateway and worker processes, the fake engine unless the line says otherwise), under "
        "open-loop streamed load, into which one fault was injected.",
        "",
        f"Measured on {_all(rows, 'machine')}, {_all(rows, 'at')}, at {_all(rows, 'commit')}.",
        f"{kept} of {len(rows)} promises kept{_half_kept(half)}.",
        "",
        "- *failed*: an error status or an error event; *cut*: an end without a word; *refused*: "
        "429 or 503 with `Retry-After` before the first token; *–*: not counted in that line.",
        "- *lost*, *duplicated*: tokens, against the answer of an unbroken run.",
        "- *gap*: the longest pause between two tokens of each stream that was running when the "
        "fault struck, seconds. *recovery*: from the fault to its last visible trace (a failure, "
        "a pause above 0.5 s, or a first token above that and twice the usual), seconds.",
        "- F18-F22 and F26 have a proxy before one worker, F49 before two, in the load generator's "
        "own process.",
        "",
        "| fault | what happens | requests | failed | cut | refused | lost | duplicated | gap p50 "
        "| gap p99 | recovery | promise |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    return "\n".join([*head, *map(_line, rows)]) + "\n"


def _line(entry: Mapping[str, Any]) -> str:
    figures = entry["figures"]
    counts = [_count(figures.get(name)) for name in _COLUMNS]
    times = [_seconds(figures.get(name)) for name in _TIMES]
    cells = [entry["fault"], entry["name"], *counts, *times, _verdict(entry)]
    return f"| {' | '.join(cells)} |"


def _verdict(entry: Mapping[str, Any]) -> str:
    own = {k: v for k, v in entry["promise"].items() if k not in ("failed", "cut", "lost")}
    said = [
        f"{_words(name)} {_number(entry['figures'].get(name))} (≤ {bound:g})"
        for name, bound in own.items()
        if entry["times"] or not is_time(name)
        if name not in ("duplicated", "leaked") or name in entry["broken"]
    ]
    missed = [
        f"{_words(name)} {_number(value)} instead of ≤ {entry['promise'][name]:g}"
        for name, value in entry["broken"].items()
    ]
    kept = "kept in counts, times not measured" if _unjudged(entry) else "kept"
    verdict = f"**missed**: {'; '.join(missed)}" if missed else kept
    shown = [text for text in said if not any(text.split(" (")[0] in miss for miss in missed)]
    return "; ".join([verdict, *shown])


def _unjudged(entry: Mapping[str, Any]) -> bool:
    """Whether a part of the promise is a time, and times were not measured."""
    return not entry["times"] and any(is_time(name) for name in entry["promise"])


def _words(figure: str) -> str:
    for ending, unit in (("_s", " (s)"), ("_ratio", " ratio"), ("_share", " share")):
        if figure.endswith(ending):
            return figure.removesuffix(ending).replace("_", " ") + unit
    return figure.replace("_", " ")


def _number(value: float | None) -> str:
    return "not measured" if value is None or value == float("inf") else f"{value:.3g}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _all(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    """The different values of a field; of times, the days."""
    return ", ".join(sorted({str(entry[name]).partition("T")[0] for entry in rows}))


def machine() -> str:
    """The machine, in words."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}"


def commit() -> str:
    """The commit measured; AVIKAM_COMMIT names it where there is no repository."""
    told = os.environ.get("AVIKAM_COMMIT")
    if told:
        return told
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return asked.stdout.strip() or "unknown"
