"""What an install gets: the embedded model in the wheel, and a base without torch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder),
    ]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_embedded_model_is_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for name in ("config.json", "model.safetensors", "tokenizer.model", "manifest.json"):
        assert f"avikam/models/avikam1-nano/{name}" in names
    assert "avikam/py.typed" in names


def test_the_console_is_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for name in ("page.html", "style.css", "script.js"):
        assert f"avikam/gateway/console/{name}" in names


def test_the_base_needs_no_torch(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    needed = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    base = {line.split(">")[0].split("=")[0] for line in needed if "extra ==" not in line}
    assert {"fastapi", "grpcio", "typer"} <= base
    assert base & {"torch", "numpy", "sentencepiece", "safetensors"} == set()


def test_every_dependency_is_pinned_and_no_pin_names_an_index_or_a_host() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines}
    assert {"torch", "grpcio", "fastapi", "pytest", "hatchling", "uv"} <= pinned
    assert "torch==2.13.0" in lines
    for line in lines:
        assert line.count("==") >= 1, line
        assert "/" not in line, line
        assert not line.startswith("-"), line
