"""The check of commit messages, by itself and as git calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.check_commit_message import LONGEST_SUBJECT, problems

ROOT = Path(__file__).parents[2]
FULL = "x" * LONGEST_SUBJECT


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        f"{FULL}\n",
        f"{FULL}\n\nWhy it is so: {'long ' * 40}\n",
        "Étage par étage, une passerelle\n\nc'est plus clair\n",
        f"Merge branch '{'long' * 40}'",
        f"fixup! {FULL}",
        f"# a hint of git's\nSay it\n# {'a comment is not counted ' * 9}\n\nwhy\n",
        f"Say it\n\nwhy\n# ------------------------ >8 ------------------------\n{FULL * 3}\n",
    ],
)
def test_a_message_that_says_what_and_why_passes(message: str) -> None:
    assert list(problems(message)) == []


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (FULL + "x", f"has {LONGEST_SUBJECT + 1} characters, at most {LONGEST_SUBJECT}"),
        (f"{FULL} é\n\nwhy", f"has {LONGEST_SUBJECT + 2} characters"),
        ("Say it\nand why", "the second line must be empty"),
        ("Say it.", "without a full stop"),
        ("", "is empty"),
        ("\n\nSay it", "is empty"),
        ("# only comments\n", "is empty"),
        ("   \n\nwhy", "is empty"),
    ],
)
def test_one_that_does_not_is_told_why(message: str, complaint: str) -> None:
    (found,) = problems(message)

    assert complaint in found


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    name = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True
    )


def test_git_refuses_a_commit_with_a_long_subject(tmp_path: Path) -> None:
    assert git(tmp_path, "init", "--quiet").returncode == 0
    hook = tmp_path / ".git" / "hooks" / "commit-msg"
    script = ROOT / "scripts" / "check_commit_message.py"
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$1"\n')
    hook.chmod(0o755)

    refused = git(tmp_path, "commit", "--allow-empty", "-m", FULL + "x")
    taken = git(tmp_path, "commit", "--allow-empty", "-m", FULL)

    assert (refused.returncode, taken.returncode) == (1, 0)
    assert "at most 72" in refused.stderr


def test_the_hook_is_installed_with_the_others() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (hook,) = (h for h in settings["repos"][0]["hooks"] if "commit-msg" in h.get("stages", ()))

    assert "commit-msg" in settings["default_install_hook_types"]
    assert (ROOT / hook["entry"].split()[-1]).exists()
