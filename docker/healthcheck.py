"""Exit 0 when the service answers: an http(s) address, or host:port of a gRPC health service."""

import sys
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 4


def http_answers(address: str) -> bool:
    """Whether the address answers with a success."""
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - our own service
        return bool(answer.status == 200)


def grpc_serves(address: str) -> bool:
    """Whether the server says that it serves."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SECONDS)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main(address: str) -> int:
    """The exit status for an address."""
    answers = http_answers if address.startswith("http") else grpc_serves
    try:
        return 0 if answers(address) else 1
    except (OSError, grpc.RpcError) as error:
        sys.stderr.write(f"{address}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
