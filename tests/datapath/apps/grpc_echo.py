"""gRPC without generated code: an echo that tells what metadata reached it, and a client for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from datapath.apps.wire import GrpcAnswers, GrpcCall

__all__ = ["call_grpc", "serve_grpc"]

UNARY, STREAM, HEALTH = "/echo/Unary", "/echo/Stream", "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
CALL_SECONDS = 20.0

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[bytes, bytes]


async def serve_grpc(port: int, note: Callable[[bytes], None]) -> None:
    """Serve on all addresses until the process ends; `note` gets the metadata of each call."""
    from datapath.apps.servers import VERSION

    def answer(context: Context) -> bytes:
        metadata = [(str(key), str(value)) for key, value in context.invocation_metadata() or ()]
        note(json.dumps(metadata).encode())
        return json.dumps({"version": VERSION, "metadata": metadata}).encode()

    async def unary(_: bytes, context: Context) -> bytes:
        return answer(context)

    async def stream(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield answer(context)

    async def health(_: bytes, __: Context) -> bytes:
        return SERVING

    class Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            if details.method == UNARY:
                return grpc.unary_unary_rpc_method_handler(unary)
            if details.method == STREAM:
                return grpc.stream_stream_rpc_method_handler(stream)
            if details.method == HEALTH:
                return grpc.unary_unary_rpc_method_handler(health)
            return None

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    _serving.append(server)


_serving: list[grpc.aio.Server] = []
"""kept, because a server that nobody holds is stopped"""


async def call_grpc(asked: GrpcCall) -> GrpcAnswers:
    """The answers up to the first error."""
    versions: list[str] = []
    metadata: list[tuple[tuple[str, str], ...]] = []

    def note(answer: bytes) -> None:
        told = json.loads(answer)
        versions.append(told["version"])
        metadata.append(tuple((key, value) for key, value in told["metadata"]))

    # A channel of its own, not one that an earlier call has left open.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel: Any  # the stubs know only channels with serializers
    async with grpc.aio.insecure_channel(asked.target, options=options) as channel:
        try:
            if asked.stream:
                call = channel.stream_stream(STREAM)(metadata=asked.metadata, timeout=CALL_SECONDS)
                for _ in range(asked.calls):
                    await call.write(b"message")
                    note(await call.read())
                await call.done_writing()
            else:
                method = channel.unary_unary(UNARY)
                for _ in range(asked.calls):
                    note(await method(b"message", metadata=asked.metadata, timeout=CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            return GrpcAnswers(
                versions=tuple(versions), metadata=tuple(metadata), error=f"{error.code().name}: {error.details()}"
            )
    return GrpcAnswers(versions=tuple(versions), metadata=tuple(metadata))
