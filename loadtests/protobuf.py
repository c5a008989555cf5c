"""POST /generate, protobuf in and out: locust -f loadtests/protobuf.py"""

from __future__ import annotations

from locust import FastHttpUser, constant_throughput, task

from avikam.v1 import inference_pb2
from loadtests.payloads import PROTOBUF, headers, protobuf_message
from loadtests.thresholds import options


class ProtobufUser(FastHttpUser):
    """Asks twice a second."""

    wait_time = constant_throughput(2)

    @task
    def generate(self) -> None:
        """One answer; anything but our message is a failure."""
        body = protobuf_message(options(self.environment).max_tokens).SerializeToString()
        accept = {**headers(PROTOBUF), "Accept": PROTOBUF}
        # Locust sends bytes as they are; its annotation knows only text.
        with self.client.post(
            "/generate",
            data=body,  # type: ignore[arg-type]
            headers=accept,
            catch_response=True,
        ) as response:
            if response.status_code == 200:
                answer = inference_pb2.GenerateResponse.FromString(response.content)
                if not answer.choices or not answer.choices[0].text:
                    response.failure("no text")
