"""What the pages point at is there: files, headings, commands, targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avikam.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "helm", "loadtests", "models")
PAGES = sorted([*ROOT.glob("*.md"), *(page for f in FOLDERS for page in (ROOT / f).rglob("*.md"))])


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the page's headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}


def problem(page: Path, target: str) -> str:
    """Why a link of ``page`` leads nowhere; empty when it leads somewhere."""
    path, _, anchor = target.partition("#")
    there = page.parent / path if path else page
    if not there.exists():
        return f"{target} does not exist"
    if anchor and there.suffix == ".md" and anchor not in anchors(there):
        return f"{target}: no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    inside = [target for target in targets if not re.match(r"\w+:", target)]
    assert [found for target in inside if (found := problem(page, target))] == []


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= targets, page


def test_every_command_that_a_page_names_exists() -> None:
    for page in PAGES:
        named = set(re.findall(r"(?:`|^)avikam ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= COMMANDS.keys(), page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
