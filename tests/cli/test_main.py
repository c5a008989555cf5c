"""What ``avikam`` itself says: help, suggestions, versions."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

import avikam
from avikam.cli.main import COMMANDS, LazyCommands, app, main


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_help_lists_every_command(runner: CliRunner) -> None:
    shown = runner.invoke(app, ["--help"]).output
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in shown
        assert text in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_explains_itself(name: str, runner: CliRunner) -> None:
    shown = runner.invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: root {name}")
    assert LazyCommands()[name].help


def test_a_mistyped_command_gets_a_suggestion(runner: CliRunner) -> None:
    result = runner.invoke(app, ["serv"])
    assert result.exit_code == 2
    assert "Did you mean 'serve'?" in result.output


def test_a_mistyped_flag_gets_a_suggestion(runner: CliRunner) -> None:
    result = runner.invoke(app, ["gateway", "--http-prot", "1"])
    assert result.exit_code == 2
    assert "--http-port" in result.output


def test_versions_as_text_and_json(runner: CliRunner) -> None:
    assert runner.invoke(app, ["--version"]).output == f"avikam {avikam.__version__}\n"
    shown = json.loads(runner.invoke(app, ["version", "--json"]).output)
    assert shown["avikam"] == avikam.__version__
    assert {"python", "torch", "grpcio"} <= set(shown)


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "avikam.model.checkpoint", raising=False)
    monkeypatch.setattr(sys, "argv", ["avikam", "model", "verify"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "error: torch is not installed: pip install 'avikam[worker]'\n"
    )
