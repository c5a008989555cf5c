"""Measured service times take the roofline's place; a file that holds none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avikam.cli.simulate import app
from avikam.simulator.hardware import HARDWARE
from avikam.simulator.measured import MeasurementError, measured

PROFILE = HARDWARE["h100"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Steps of 10 ms alone, 12 ms with 4 streams, 20 ms with 16; 512 tokens take 0.1 s."""
    path = tmp_path / "engine.json"
    rates = {"16": 16 / 0.020, "1": 1 / 0.010, "4": 4 / 0.012}
    path.write_text(json.dumps({"prefill_256": 5120.0, "decode": rates, "threads": 1}))
    return path


@pytest.mark.parametrize(
    ("sequences", "seconds"), [(0, 0.010), (1, 0.010), (4, 0.012), (10, 0.016), (16, 0.020)]
)
def test_steps_are_the_measured_ones_and_between_them(
    file: Path, sequences: int, seconds: float
) -> None:
    assert measured(PROFILE, file).step_seconds(sequences, 89) == pytest.approx(seconds)


def test_streams_beyond_the_last_take_their_share(file: Path) -> None:
    assert measured(PROFILE, file).step_seconds(32, 89) == pytest.approx(0.040)


def test_the_rest_is_the_profiles(file: Path) -> None:
    worker = measured(PROFILE, file)
    assert worker.prefill_seconds(512) == pytest.approx(0.1)
    assert (worker.slots, worker.startup_seconds) == (PROFILE.slots, PROFILE.startup_seconds)
    assert worker.dollars_per_hour == PROFILE.dollars_per_hour
    assert "measured" in worker.basis


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "is no measurement of an engine"),
        ("not json", "is no measurement of an engine"),
        ('{"prefill_256": 1, "decode": {"1": 0}}', "has streams or rates that are not above 0"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(MeasurementError, match=sentence):
        measured(PROFILE, path)


def test_the_command_says_what_was_measured(file: Path, tmp_path: Path) -> None:
    options = ["--hardware", "h100", "--measured", str(file), "--peak", "3", "--minutes", "2"]
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Measured steps and prefill: engine.json." in result.output
    missing = CliRunner().invoke(app, ["--measured", str(tmp_path / "none.json")])
    assert missing.exit_code == 2
    assert "No such file" in missing.output
