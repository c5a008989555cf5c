"""POST /generate, JSON in and out: locust -f loadtests/rest.py"""

from __future__ import annotations

from locust import FastHttpUser, constant_throughput, task

from loadtests.payloads import headers, json_body
from loadtests.thresholds import options


class RestUser(FastHttpUser):
    """Asks twice a second."""

    wait_time = constant_throughput(2)

    @task
    def generate(self) -> None:
        """One answer; 200 without text is a failure."""
        body = json_body(options(self.environment).max_tokens).decode()
        with self.client.post(
            "/generate", data=body, headers=headers(), catch_response=True
        ) as response:
            if response.status_code == 200 and not response.json().get("text"):
                response.failure("no text")
