"""POST /generate_stream: time to first token, and every stream must end as it promised.

locust -f loadtests/streaming.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from locust import HttpUser, constant_throughput, task

from loadtests.payloads import headers, json_body
from loadtests.thresholds import options


class StreamingUser(HttpUser):
    """Asks once a second and reads to the end."""

    wait_time = constant_throughput(1)

    @task
    def stream(self) -> None:
        """Three figures: ``stream`` until its headers, ``first token``, ``whole stream``."""
        started = time.perf_counter()
        body = json_body(options(self.environment).max_tokens)
        with self.client.post(
            "/generate_stream",
            data=body,
            headers=headers(),
            stream=True,
            name="stream",
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                return
            lines = [line for line in self._timed(response.iter_lines(), started) if line]
            if not lines or lines[-1] != b"data: [DONE]":
                response.failure("the stream ended without [DONE]")
            self._report("whole stream", started)

    def _timed(self, lines: Iterator[bytes], started: float) -> Iterator[bytes]:
        """The lines; the first one is reported as a figure of its own."""
        first = True
        for line in lines:
            if first and line:
                first = False
                self._report("first token", started)
            yield line

    def _report(self, name: str, started: float) -> None:
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=(time.perf_counter() - started) * 1000,
            response_length=0,
            exception=None,
            context={},
        )
