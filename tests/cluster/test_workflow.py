"""The workflow file: what it runs exists, and nothing in it can be moved under our feet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.helm import ROOT

FILE = ROOT / ".github" / "workflows" / "ci.yaml"
WORKFLOW: dict[str, Any] = yaml.safe_load(FILE.read_text())
USES = re.findall(r"uses: (\S+)(.*)", FILE.read_text())


def commands() -> Iterator[str]:
    for job in WORKFLOW["jobs"].values():
        yield from (step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize(("action", "comment"), sorted(set(USES)))
def test_an_action_is_pinned_by_commit(action: str, comment: str) -> None:
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
    assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_jobs_may_only_read_unless_they_publish() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    trusted = {name for name, job in WORKFLOW["jobs"].items() if "permissions" in job}
    assert trusted == {"publish", "publish-chart"}
    for job in WORKFLOW["jobs"].values():
        assert job["timeout-minutes"]


def test_targets_and_scripts_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([\w-]+)", "\n".join(commands())):
        assert f"\n{target}:" in makefile
    assert (ROOT / ".ci" / "run").exists()


def test_the_script_that_a_pod_runs_exists() -> None:
    scripts = re.findall(r"\$\(cat (\S+)\)", "\n".join(commands()))
    assert scripts
    assert all((ROOT / script).exists() for script in scripts)


def test_images_are_built_from_files_that_exist() -> None:
    for job in ("images", "publish"):
        for image in WORKFLOW["jobs"][job]["strategy"]["matrix"]["image"]:
            assert (ROOT / "docker" / f"{image}.Dockerfile").exists()
