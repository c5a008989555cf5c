"""``avikam doctor``: each examination, and the verdict they add up to."""

from __future__ import annotations

import json
import shutil
import socket
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avikam.cli import checkup
from avikam.cli.main import app
from avikam.operations.findings import Finding, Verdict
from avikam.worker.settings import embedded_model

ROOT = Path(__file__).resolve().parents[2]


def test_this_machine_can_serve() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "This machine can serve." in result.output


def test_json_says_the_same() -> None:
    shown = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    names = [finding["name"] for finding in shown["findings"]]
    assert shown["healthy"] is True
    assert {"python", "torch", "int8 on CPU", "native int8", "gpu", "redis", "model"} <= set(names)


def test_one_broken_finding_makes_the_machine_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding("torch", Verdict.BROKEN, "not installed", "pip install 'avikam[worker]'")
    monkeypatch.setattr("avikam.cli.doctor.examine", lambda: [bad])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "XX  torch" in result.output
    assert "-> pip install 'avikam[worker]'" in result.output


@pytest.mark.parametrize(
    ("running", "verdict"),
    [
        ((3, 10), Verdict.BROKEN),
        ((3, 11), Verdict.GOOD),
        ((3, 13), Verdict.GOOD),
        ((3, 14), Verdict.BROKEN),
    ],
)
def test_python_versions(running: tuple[int, int], verdict: Verdict) -> None:
    assert checkup.python(running).verdict is verdict


def test_instruction_sets_come_best_first(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : fpu avx2 avx512f amx_int8\n")
    assert checkup.instructions(cpuinfo).detail == "amx_int8, avx512f, avx2"
    cpuinfo.write_text("flags : fpu\n")
    assert checkup.instructions(cpuinfo).verdict is Verdict.ABSENT


@pytest.fixture
def nothing_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose cache is empty, and whose PATH has one folder with nothing in it."""
    if "avx2" not in checkup.instructions().detail:
        pytest.skip("the native step needs an x86-64 processor with AVX2")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    return folder


def test_a_machine_without_a_compiler_learns_what_that_costs(nothing_built: Path) -> None:
    finding = checkup.native_step()
    assert finding.verdict is Verdict.ABSENT
    assert "no C compiler" in finding.detail
    assert "several times slower" in finding.detail
    assert "gcc" in finding.remedy
    assert "pip install ziglang" in finding.remedy


def test_a_native_step_that_will_be_built_is_good_and_is_not_built_yet(nothing_built: Path) -> None:
    compiler = nothing_built / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    finding = checkup.native_step()
    assert finding.verdict is Verdict.GOOD
    level, _, rest = finding.detail.partition(": ")
    assert level in {"avx2", "avx-vnni", "avx512-vnni"}
    assert rest == f"{compiler} builds it when a worker first starts"
    assert [path.name for path in nothing_built.parent.iterdir()] == ["bin"]


def test_a_busy_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        busy = checkup.port("gateway port", number, "--http-port")
    assert busy.verdict is Verdict.ABSENT
    assert "--http-port" in busy.remedy
    assert checkup.port("gateway port", number, "--http-port").verdict is Verdict.GOOD


def test_a_damaged_model_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedded_model(), folder)
    assert checkup.model(folder).verdict is Verdict.GOOD
    (folder / "config.json").write_text("{}")
    finding = checkup.model(folder)
    assert finding.verdict is Verdict.BROKEN
    assert "config.json is corrupt" in finding.detail


def test_what_is_looked_for_is_what_a_worker_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.split(">")[0] for line in project["optional-dependencies"]["worker"]}
    assert {*checkup._WORKER_PACKAGES, "torch"} == declared


def test_a_package_that_is_missing_comes_with_its_extra() -> None:
    finding = checkup.optional_package("no-such-package", "nothing", "avikam[cuda]")
    assert (finding.verdict, finding.remedy) == (Verdict.ABSENT, "pip install 'avikam[cuda]'")
