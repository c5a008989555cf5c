"""Writing the corpus in the layout that :mod:`avikam.trainer.corpus` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from avikam.trainer.preparation.rows import Row
from avikam.trainer.preparation.shards import write_lines
from avikam.trainer.preparation.split import Side

Sided = list[tuple[Side, Row]]


def write_corpus(folder: Path, rows: Sided) -> None:
    """Pairs and chats in one file per side, texts in one per language and domain."""
    for side in ("train", "valid", "test"):
        chosen = [row for where, row in rows if where == side]
        _write_pairs(folder / "parallel" / f"{side}.tsv.gz", chosen)
        chats = [_chat_line(row) for row in chosen if row.kind == "chat"]
        write_lines(folder / "instruct" / f"{side}.jsonl.gz", chats)
    for (language, domain), texts in _by_file(rows).items():
        write_lines(folder / "mono" / f"{language}_{domain}.jsonl.gz", texts)


def _write_pairs(path: Path, rows: Iterable[Row]) -> None:
    lines = ["fr\ten\tdomain\tsource"]
    for row in rows:
        if row.kind == "pair":
            cells = (*row.parts, row.domain, row.source)
            lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    write_lines(path, lines)


def _chat_line(row: Row) -> str:
    turns = zip(row.roles, row.parts, strict=True)
    values = {
        "lang": row.language,
        "kind": row.domain,
        "source": row.source,
        "messages": [{"role": role, "content": content} for role, content in turns],
    }
    return json.dumps(values, ensure_ascii=False)


def _by_file(rows: Sided) -> dict[tuple[str, str], list[str]]:
    files: dict[tuple[str, str], list[str]] = {}
    for side, row in rows:
        if row.kind == "text":
            values = {"domain": row.domain, "lang": row.language, "source": row.source}
            line = json.dumps(values | {"split": side, "text": row.parts[0]}, ensure_ascii=False)
            files.setdefault((row.language, row.domain), []).append(line)
    return files
