"""Spans for an OpenTelemetry collector, off unless the settings name one.

    off   no SDK and no exporter is imported, and whoever would make a span finds None
    on    a span per request, per attempt and per sequence on a worker, sent in the background

Spans never hold prompts, generated text, keys or tenants' names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from avikam.common.settings import Settings

if TYPE_CHECKING:
    from avikam.common.span_export import Tracing

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class TracingError(Exception):
    """Tracing was switched on and cannot work; the message is one line for the operator."""


def open_tracing(settings: Settings, service: str, instance: str) -> Tracing | None:
    """What makes and sends the spans of one service; None when tracing is off.

    ``service`` is its name, ``instance`` names this process of it. Raises :class:`TracingError`.
    """
    endpoint = settings.tracing_endpoint
    if endpoint is None:
        return None
    try:
        from avikam.common.span_export import Tracing
    except ModuleNotFoundError as error:
        raise TracingError(
            f"cannot trace to {endpoint}: OpenTelemetry is not installed; "
            "pip install 'avikam[tracing]', or set tracing_endpoint to off"
        ) from error
    try:
        return Tracing(endpoint, settings.tracing_sample_ratio, service, instance)
    except (OSError, ValueError) as error:
        raise TracingError(f"cannot trace to {endpoint}: {error}") from error


def recorded_trace(traceparent: str) -> str:
    """The id of the trace that a sender records; empty when it records none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and int(found[2], 16) & _SAMPLED else ""
