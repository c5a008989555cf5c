"""What ``avikam serve`` refuses: one clear line, exit status 2, and nothing half started."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from avikam.model.manifest import write_manifest
from avikam.worker.settings import embedded_model
from tests.cli.processes import marked, run_avikam

PROGRESS = re.compile(r"Loading \S+|Loading a fake engine|worker 1 .* \([\d.]+ s\)$")


def refusal(*arguments: str, **environ: str) -> str:
    """The one line that a refused start prints."""
    mark = "refused-" + "-".join(arguments)[-60:]
    done = run_avikam("serve", *arguments, environ={**environ, "AVIKAM_TEST_MARK": mark})
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert marked(mark) == set()
    lines = [line for line in done.stderr.splitlines() if not PROGRESS.match(line)]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the embedded model, to be damaged."""
    return Path(shutil.copytree(embedded_model(), tmp_path / "checkpoint"))


def test_a_busy_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert refusal("--http-port", str(port)) == (
            f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
            "choose another with --http-port, or 0 for a free one"
        )


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    line = refusal("--http-port", "0", "--model", str(tmp_path / "none"))
    assert line == f"error: checkpoint {tmp_path / 'none'}: the folder does not exist"


def cut_off(folder: Path) -> str:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return "model.safetensors is corrupt: its sha256 differs from manifest.json"


def lose_tokenizer(folder: Path) -> str:
    (folder / "tokenizer.model").unlink()
    return "tokenizer.model is missing"


def garble_manifest(folder: Path) -> str:
    (folder / "manifest.json").write_text("{")
    return "manifest.json is unreadable"


def whole_but_garbage(folder: Path) -> str:
    """The hashes are right, what they are hashes of is not."""
    (folder / "model.safetensors").write_bytes(b"garbage" * 100)
    write_manifest(folder)
    return "model.safetensors is not a safetensors file"


def other_shape(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config["num_layers"] += 1
    config["layer_types"].append("hybrid")
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder)
    return "is missing"


@pytest.mark.parametrize(
    "damage", [cut_off, lose_tokenizer, garble_manifest, whole_but_garbage, other_shape]
)
def test_a_corrupt_checkpoint(damage: Callable[[Path], str], checkpoint: Path) -> None:
    reason = damage(checkpoint)
    line = refusal("--http-port", "0", "--model", str(checkpoint))
    assert f"checkpoint {checkpoint}: " in line
    assert reason in line


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (
            ["--http-port", "abc"],
            {},
            "error: --http-port is 'abc': input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            ["--slots", "0"],
            {},
            "error: --slots is '0': input should be greater than or equal to 1",
        ),
        (
            [],
            {"AVIKAM_GATEWAY__HTTP_PROT": "1"},
            "error: AVIKAM_GATEWAY__HTTP_PROT is not a setting; "
            "did you mean AVIKAM_GATEWAY__HTTP_PORT?",
        ),
        (
            [],
            {"AVIKAM_WORKER__SLOT": "1"},
            "error: AVIKAM_WORKER__SLOT is not a setting; did you mean AVIKAM_WORKER__SLOTS?",
        ),
        (
            ["--config", "/nonexistent.yaml"],
            {},
            "error: cannot read /nonexistent.yaml: No such file or directory",
        ),
    ],
)
def test_a_bad_setting(arguments: list[str], environ: dict[str, str], line: str) -> None:
    assert refusal(*arguments, **environ) == line


def test_an_open_address_without_keys() -> None:
    assert "key" in refusal("--http-port", "0", "--host", "0.0.0.0", "--engine", "fake")  # noqa: S104
