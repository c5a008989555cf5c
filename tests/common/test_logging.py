"""Logs: JSON off a terminal, text on one, one record per line whatever a client sends."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from avikam.common.logging import configure_logging
from avikam.common.settings import Settings

FORGED = "hello\nINFO forged\x1b[31m\u2028\x9b"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_off_a_terminal_each_record_is_one_json_object() -> None:
    stream = io.StringIO()
    configure_logging(Settings(), stream)
    logging.getLogger("avikam.test").info(FORGED, extra={"request_id": "r\n1"})
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["message"] == FORGED
    assert (record["level"], record["logger"]) == ("INFO", "avikam.test")
    assert record["request_id"] == "r\n1"
    assert record["time"].endswith("+00:00")


def test_on_a_terminal_a_record_is_a_line_that_cannot_forge_another() -> None:
    stream = Terminal()
    configure_logging(Settings(), stream)
    logging.getLogger("avikam.test").warning(FORGED, extra={"request_id": "r\n1"})
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "WARNING test hello\\nINFO forged\\x1b[31m\\u2028\\x9b request_id=r\\n1" in line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_belongs_to_its_record(log_format: str) -> None:
    stream = io.StringIO()
    configure_logging(Settings.model_validate({"log_format": log_format}), stream)
    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("avikam.test").exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


def test_the_level_is_the_settings() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_level="warning"), stream)
    logging.getLogger("avikam.test").info("quiet")
    assert stream.getvalue() == ""


def test_servers_log_through_the_same_door() -> None:
    stream = io.StringIO()
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(io.StringIO()))
    configure_logging(Settings(), stream)
    logging.getLogger("uvicorn.error").warning("from the server")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["logger"] == "uvicorn.error"
