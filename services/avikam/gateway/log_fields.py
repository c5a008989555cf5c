"""What names a request in a line of the log."""

from __future__ import annotations

from avikam.gateway.traces import RequestTrace


def log_fields(request_id: str, trace: RequestTrace | None) -> dict[str, str]:
    """Its id, and that of its trace where one is recorded."""
    fields = {"request_id": request_id}
    if trace is not None and trace.id:
        fields["trace_id"] = trace.id
    return fields
