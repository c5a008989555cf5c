"""Every snippet of docs/clients runs, as it stands, against a real cluster of processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cluster_process import ServeProcess
from tests.tools import require_tool
from tests.worker.harness import LOOPBACK, free_port

PAGES = Path(__file__).resolve().parents[2] / "docs" / "clients"
_SNIPPET = re.compile(r"^```(sh|python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Snippet = tuple[str, str]


def snippets(page: Path) -> list[Snippet]:
    """Language and text of a page's snippets."""
    return _SNIPPET.findall(page.read_text(encoding="utf-8"))


FOUND = [
    pytest.param(language, text, id=f"{page.stem}-{number}")
    for page in sorted(PAGES.glob("*.md"))
    for number, (language, text) in enumerate(snippets(page))
]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the pages say that a cluster is."""
    grpc_port = free_port()
    with ServeProcess(
        tmp_path_factory.mktemp("serve"), "--engine", "fake", "--grpc-port", str(grpc_port)
    ) as running:
        yield {
            **os.environ,
            "AVIKAM_URL": running.wait_ready().url,
            "AVIKAM_GRPC": f"{LOOPBACK}:{grpc_port}",
        }


@pytest.mark.parametrize(("language", "text"), FOUND)
def test_a_snippet_runs_as_it_stands(
    environ: dict[str, str], tmp_path: Path, language: str, text: str
) -> None:
    done = subprocess.run(
        command(language, text, tmp_path), env=environ, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    refused = "temperature" in text
    assert ("invalid_value" in done.stdout) == refused, done.stdout


def command(language: str, text: str, folder: Path) -> list[str]:
    """How a user would run it."""
    if language == "sh":
        require_tool("curl")
        return ["bash", "-euc", text]
    if language == "js":
        file = folder / "snippet.mjs"
        file.write_text(text)
        return [require_tool("node"), str(file)]
    return [sys.executable, "-c", text]


def test_the_pages_have_their_snippets() -> None:
    counts = {page.stem: len(snippets(page)) for page in PAGES.glob("*.md")}

    assert counts == {"README": 0, "fields": 0, "curl": 6, "python": 5, "javascript": 3, "grpc": 3}


def test_the_error_that_curl_shows_is_the_one_that_comes(environ: dict[str, str]) -> None:
    page = (PAGES / "curl.md").read_text(encoding="utf-8")
    shown = re.search(r"^```json\n(.*?)\n```$", page, re.MULTILINE)
    asked = snippets(PAGES / "curl.md")[-1][1]

    done = subprocess.run(
        command("sh", asked, Path()), env=environ, capture_output=True, text=True, timeout=60
    )

    assert shown is not None
    assert done.stdout == shown[1]
