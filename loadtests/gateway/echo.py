"""What the gateway is compared with: FastAPI reads a prompt, asks grpc.aio, and says it again.

python -m loadtests.gateway.echo grpc PORT
python -m loadtests.gateway.echo http PORT GRPC_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvicorn
from fastapi import FastAPI
from grpc import aio
from pydantic import BaseModel

_METHOD = "/bench.Echo/Say"


class Body(BaseModel):
    """As little as a request can say."""

    prompt: str
    max_tokens: int = 16


def application(port: int) -> FastAPI:
    """The HTTP side."""
    app = FastAPI()
    state: dict[str, Any] = {}

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        state["say"] = aio.insecure_channel(f"127.0.0.1:{port}").unary_unary(_METHOD, None, None)
        return {"ready": bool(await state["say"](b"", wait_for_ready=True) == b"")}

    @app.post("/generate")
    async def generate(body: Body) -> dict[str, str]:
        return {"text": (await state["say"](body.prompt.encode())).decode()}

    return app


async def serve_grpc(port: int) -> None:
    """The gRPC side: bytes in, the same bytes out."""

    async def say(request: bytes, context: object) -> bytes:
        return request

    server = aio.server()
    handlers = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    side, *ports = sys.argv[1:]
    if side == "grpc":
        asyncio.run(serve_grpc(int(ports[0])))
    else:
        app = application(int(ports[1]))
        uvicorn.run(app, port=int(ports[0]), access_log=False, log_level="warning")
