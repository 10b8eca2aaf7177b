"""Clients of the aggregated discovery service over a real gRPC connection, driven step by step by a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


@dataclass(frozen=True)
class DeltaAnswer:
    """A `DeltaDiscoveryResponse`."""

    type_url: str
    nonce: str
    resources: dict[str, bytes]  # name to body, in the order of the message
    versions: dict[str, str]
    removed: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        return set(self.resources)

    @classmethod
    def parse(cls, raw: bytes) -> DeltaAnswer:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        assert all(resource.resource.type_url == message.type_url for resource in message.resources)
        answer = cls(
            type_url=message.type_url,
            nonce=message.nonce,
            resources={resource.name: resource.resource.value for resource in message.resources},
            versions={resource.name: resource.version for resource in message.resources},
            removed=tuple(message.removed_resources),
        )
        # Envoy refuses a response that names a resource twice.
        assert len(answer.resources.keys() | set(answer.removed)) == len(message.resources) + len(answer.removed)
        return answer


@dataclass(frozen=True)
class WorldAnswer:
    """A `DiscoveryResponse` of the state-of-the-world variant; only the bodies know their names."""

    type_url: str
    nonce: str
    version: str
    bodies: tuple[bytes, ...]

    @property
    def names(self) -> set[str]:
        """If a body is its name, a colon, and what else there is."""
        return {body.partition(b":")[0].decode() for body in self.bodies}

    @classmethod
    def parse(cls, raw: bytes) -> WorldAnswer:
        message = discovery_pb2.DiscoveryResponse.FromString(raw)
        assert all(resource.type_url == message.type_url for resource in message.resources)
        return cls(message.type_url, message.nonce, message.version_info, tuple(r.value for r in message.resources))


def delta_request(
    type_url: str,
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    *,
    node: str = "",
    known: Mapping[str, str] | None = None,
    nonce: str = "",
    refusal: str | None = None,
) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=known or {},
        response_nonce=nonce,
    )
    if node:
        request.node.id = node
    if refusal is not None:
        request.error_detail.message = refusal
    return bytes(request.SerializeToString())


def world_request(
    type_url: str,
    names: Iterable[str] = (),
    *,
    node: str = "",
    version: str = "",
    nonce: str = "",
    refusal: str | None = None,
) -> bytes:
    request = discovery_pb2.DiscoveryRequest(
        type_url=type_url, resource_names=names, version_info=version, response_nonce=nonce
    )
    if node:
        request.node.id = node
    if refusal is not None:
        request.error_detail.message = refusal
    return bytes(request.SerializeToString())


class RawStream:
    """One stream that sends and receives bytes, so that it can also send what is no message."""

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self.call = call

    async def send(self, raw: bytes) -> None:
        await self.call.write(raw)

    async def receive(self) -> bytes:
        """The next response. Raises EOFError if the server has ended the stream."""
        raw = await self.call.read()
        if not isinstance(raw, bytes):
            raise EOFError
        return raw

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """How the server ends the stream; responses before that are dropped."""
        with suppress(grpc.aio.AioRpcError):
            while isinstance(await self.call.read(), bytes):
                pass
        code = await self.call.code()
        return code, await self.call.details()


class DeltaStream(RawStream):
    """A stream of the delta variant."""

    async def ask(
        self,
        type_url: str,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        *,
        node: str = "",
        known: Mapping[str, str] | None = None,
    ) -> None:
        await self.send(delta_request(type_url, subscribe, unsubscribe, node=node, known=known))

    async def answer(self) -> DeltaAnswer:
        return DeltaAnswer.parse(await self.receive())

    async def ack(self, answer: DeltaAnswer) -> None:
        await self.send(delta_request(answer.type_url, nonce=answer.nonce))

    async def nack(self, answer: DeltaAnswer, message: str) -> None:
        await self.send(delta_request(answer.type_url, nonce=answer.nonce, refusal=message))

    async def acked(self, type_url: str) -> DeltaAnswer:
        """The next answer, which must be of this type, after it was acknowledged."""
        answer = await self.answer()
        assert answer.type_url == type_url
        await self.ack(answer)
        return answer


class WorldStream(RawStream):
    """A stream of the state-of-the-world variant."""

    async def ask(
        self, type_url: str, names: Iterable[str] = (), *, node: str = "", version: str = "", nonce: str = ""
    ) -> None:
        await self.send(world_request(type_url, names, node=node, version=version, nonce=nonce))

    async def answer(self) -> WorldAnswer:
        return WorldAnswer.parse(await self.receive())

    async def acked(self, type_url: str, names: Iterable[str] = ()) -> WorldAnswer:
        """The next answer, which must be of this type, after it was acknowledged; `names` as all requests have them."""
        answer = await self.answer()
        assert answer.type_url == type_url
        await self.ask(type_url, names, version=answer.version, nonce=answer.nonce)
        return answer


@asynccontextmanager
async def channel(
    target: str, credentials: grpc.ChannelCredentials | None = None, options: Sequence[tuple[str, object]] = ()
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, not shared with other channels of the process."""
    own = (("grpc.use_local_subchannel_pool", 1), *options)
    made = (
        grpc.aio.insecure_channel(target, options=own)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options=own)
    )
    async with made as open_channel:
        yield open_channel


def delta(on: grpc.aio.Channel, metadata: Iterable[tuple[str, str]] = ()) -> DeltaStream:
    return DeltaStream(_call(on, "DeltaAggregatedResources", metadata))


def world(on: grpc.aio.Channel, metadata: Iterable[tuple[str, str]] = ()) -> WorldStream:
    return WorldStream(_call(on, "StreamAggregatedResources", metadata))


def _call(
    on: grpc.aio.Channel, method: str, metadata: Iterable[tuple[str, str]]
) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    open_call = on.stream_stream(SERVICE + method, request_serializer=None, response_deserializer=None)
    return open_call(None, metadata=grpc.aio.Metadata(*metadata))
