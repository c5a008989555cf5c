"""Logs of every service: text on a terminal, one JSON object per line elsewhere.

Use the standard library's loggers; extra fields go into ``extra={...}``. Prompts and generated text
are never logged. Whatever a client managed to put into a record cannot forge another record:
control characters are escaped.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from avikam.common.settings import Settings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_RECORD_FIELDS = frozenset([*RESERVED_ATTRS, "message", "asctime"])
# These install handlers of their own unless told otherwise.
_JOINED = ("uvicorn", "uvicorn.access", "uvicorn.error", "grpc", "grpc._cython.cygrpc")


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every logger's records to ``stream`` (standard error), once."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(settings.log_format, stream))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in _JOINED:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # One line per request of the gateway's own HTTP client is noise.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _formatter(log_format: str, stream: TextIO) -> logging.Formatter:
    if log_format == "text" or (log_format == "auto" and stream.isatty()):
        return TextFormatter()
    return JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        rename_fields={"levelname": "level", "name": "logger", "timestamp": "time"},
        timestamp=True,
        json_ensure_ascii=True,
    )


def escape(text: str) -> str:
    """``text`` on one line, with control characters written as escapes."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class TextFormatter(logging.Formatter):
    """``12:00:00.000 INFO gateway.routing message key=value``, tracebacks indented below."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time, level, logger, message and the extra fields."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone()
        extras = "".join(
            f" {name}={value}" for name, value in vars(record).items() if name not in _RECORD_FIELDS
        )
        logger = record.name.removeprefix("avikam.")
        line = escape(f"{record.levelname:7} {logger} {record.getMessage()}{extras}")
        return "\n    ".join(
            [f"{time:%H:%M:%S}.{int(record.msecs):03} {line}", *_traceback(record)]
        )


def _traceback(record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return [
        escape(line) for line in logging.Formatter().formatException(record.exc_info).split("\n")
    ]
