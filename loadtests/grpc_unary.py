"""InferenceService.Generate over gRPC: locust -f loadtests/grpc_unary.py --host 127.0.0.1:9000"""

from __future__ import annotations

import time

import grpc
import grpc.experimental.gevent as grpc_gevent
from locust import User, constant_throughput, task

from avikam.v1 import inference_pb2_grpc
from loadtests.payloads import headers, protobuf_message
from loadtests.thresholds import options

# Locust's users are greenlets: gRPC must wait as they do.
grpc_gevent.init_gevent()


class GrpcUser(User):
    """Asks twice a second."""

    wait_time = constant_throughput(2)

    def on_start(self) -> None:
        """One channel per user."""
        channel = grpc.insecure_channel((self.host or "").removeprefix("http://"))
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)
        self._metadata = tuple(
            ("authorization", value) for name, value in headers().items() if name != "Content-Type"
        )

    @task
    def generate(self) -> None:
        """One answer; a status other than OK, or no text, is a failure."""
        started, size = time.perf_counter(), 0
        error: Exception | None = None
        request = protobuf_message(options(self.environment).max_tokens)
        try:
            answer = self._stub.Generate(request, metadata=self._metadata, timeout=60)
            size = answer.ByteSize()
            if not answer.choices or not answer.choices[0].text:
                error = ValueError("no text")
        except grpc.RpcError as problem:
            error = problem
        self.environment.events.request.fire(
            request_type="gRPC",
            name="Generate",
            response_time=(time.perf_counter() - started) * 1000,
            response_length=size,
            exception=error,
            context={},
        )
