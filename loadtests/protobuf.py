"""POST /generate, protobuf in and out: locust -f loadtests/protobuf.py"""

from __future__ import annotations

from locust import FastHttpUser, constant_throughput, task

from avikam.v1 import inference_pb2
from loadtests import thresholds  # noqa: F401 - registers its options
from loadtests.payloads import PROTOBUF, headers, protobuf_message


class ProtobufUser(FastHttpUser):
    """Asks twice a second."""

    wait_time = constant_throughput(2)

    @task
    def generate(self) -> None:
        """One answer; anything but our message is a failure."""
        body = protobuf_message(self.environment.parsed_options.max_tokens).SerializeToString()
        accept = {**headers(PROTOBUF), "Accept": PROTOBUF}
        with self.client.post(
            "/generate", data=body, headers=accept, catch_response=True
        ) as response:
            if response.status_code == 200:
                answer = inference_pb2.GenerateResponse.FromString(response.content)
                if not answer.choices or not answer.choices[0].text:
                    response.failure("no text")
