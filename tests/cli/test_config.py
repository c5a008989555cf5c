"""``avikam config``: what is in force, where it is from, and whether a file is valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from avikam.cli.main import app
from avikam.common.settings import load
from avikam.gateway.settings import GatewaySettings
from scripts.generate_configuration_page import PAGE, page


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "avikam.yaml"
    path.write_text("gateway: {http_port: 8081}\nworker: {slots: 4}\n")
    return path


def test_origins_are_shown(runner: CliRunner, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIKAM_WORKER__TOKEN_BUDGET", "128")
    shown = runner.invoke(app, ["config", "show", "--origin", "--config", str(file)]).output
    lines = {line.split(":")[0].strip(): line for line in shown.splitlines()}
    assert lines["http_port"].endswith(f"# file gateway.http_port in {file}")
    assert lines["token_budget"].endswith("# environment AVIKAM_WORKER__TOKEN_BUDGET")
    assert lines["device"].endswith("# default")


def test_what_is_shown_is_a_valid_file(runner: CliRunner, file: Path, tmp_path: Path) -> None:
    shown = runner.invoke(app, ["config", "show", "--config", str(file)]).output
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown)
    assert runner.invoke(app, ["config", "validate", str(copy)]).exit_code == 0
    assert load(GatewaySettings, "gateway", copy) == load(GatewaySettings, "gateway", file)
    assert yaml.safe_load(shown)["worker"]["slots"] == 4


def test_json_holds_value_and_origin(runner: CliRunner, file: Path) -> None:
    shown = runner.invoke(app, ["config", "show", "--json", "--config", str(file)]).output
    assert json.loads(shown)["worker"]["slots"] == {
        "value": 4,
        "origin": "file",
        "name": f"worker.slots in {file}",
    }


def test_an_invalid_file_is_one_line_per_problem(runner: CliRunner, file: Path) -> None:
    file.write_text("gateway: {http_prot: 1}\nworker: {slots: 0}\nworkers: {}\n")
    result = runner.invoke(app, ["config", "validate", str(file)])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: workers in {file} is not a section; did you mean worker?",
        f"error: gateway.http_prot in {file} is not a setting; did you mean http_port?",
        f"error: worker.slots in {file} is 0: input should be greater than or equal to 1",
    ]


def test_the_configuration_page_matches_the_settings() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
