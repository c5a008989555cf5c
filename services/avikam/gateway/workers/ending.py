"""How a line to a worker ended without a finish: facts, as the transport saw them.

What they mean for the sequence and its worker says :mod:`avikam.gateway.sequence.failure`.
"""

from __future__ import annotations

import grpc

from avikam.protocol.errors import ApiError


class LineEnded(Exception):  # noqa: N818 - what it means is not known yet
    """No frame will come any more.

    ``error`` is what the worker's application said; ``code`` is how the call broke that carried the
    line. With neither, the worker ended the line without a word. ``accepted`` is whether the
    application had said anything of the sequence before, ``sent`` whether it had been sent at all.
    """

    def __init__(
        self,
        *,
        error: ApiError | None = None,
        code: grpc.StatusCode | None = None,
        accepted: bool = False,
        sent: bool = False,
    ) -> None:
        super().__init__(error or code or "ended without a finish")
        self.error = error
        self.code = code
        self.accepted = accepted
        self.sent = sent
