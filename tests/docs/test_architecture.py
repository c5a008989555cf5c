"""The page about the code names what exists: files, folders, classes and messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services" / "avikam"
PAGE = ROOT / "docs" / "architecture.md"
NAMED = re.findall(
    r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE.read_text("utf-8"), flags=re.DOTALL)
)


def classes() -> set[str]:
    """Every class of the services, and every message of the protocol."""
    found: set[str] = set()
    for file in SERVICES.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for file in (ROOT / "proto").rglob("*.proto"):
        found |= set(re.findall(r"^message (\w+)", file.read_text("utf-8"), re.MULTILINE))
    return found


def test_every_file_and_folder_exists() -> None:
    paths = [name for name in NAMED if re.fullmatch(r"[\w.]+(/[\w.]+)+|[a-z]\w*\.py", name)]

    missing = [p for p in paths if not ((SERVICES / p).exists() or (ROOT / p).exists())]

    assert len(paths) > 30
    assert missing == []


def test_every_folder_of_the_services_is_on_the_map() -> None:
    folders = {p.name for p in SERVICES.iterdir() if p.is_dir() and not p.name.startswith("_")}

    assert {name for name in folders if not any(n.split("/")[0] == name for n in NAMED)} == set()


def test_every_class_exists() -> None:
    names = {name for name in NAMED if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z]\w*)?", name)}

    assert len(names) > 30
    assert names - classes() == set()


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {name.removeprefix("make ") for name in NAMED if name.startswith("make ")}

    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
