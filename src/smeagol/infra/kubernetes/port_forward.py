"""HTTP to a port inside a Pod, through the API server: what `kubectl port-forward` does, for one request after another.

So a server may listen on the Pod's loopback alone, and who may reach it is decided by RBAC (`pods/portforward`).

The subprotocol is the kubelet's own (`v4.channel.k8s.io`), which the API server passes through: each message begins
with the number of its channel, and each channel first names its port (k8s.io/cri-streaming portforward/websocket.go).
It has no half-close, which HTTP does not need.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import h11
import httpcore2
import httpx2
import msgspec
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping
from wsproto.utilities import RemoteProtocolError

from smeagol.errors import SmeagolError
from smeagol.refs import PodRef

__all__ = ["PodUnreachableError", "PortForward"]

PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_READ_BYTES = 65536


class PodUnreachableError(SmeagolError):
    """The API server does not lead to the Pod, or nothing answers there."""

    code = "SMI-K118"


class PortForward(httpx2.BaseTransport):
    """A transport whose every request goes to one port of one Pod, on a connection of its own.

    `client` reaches the API server. Raises PodUnreachableError.
    """

    def __init__(self, client: httpx2.Client, pod: PodRef, port: int) -> None:
        self._client = client
        self._pod = pod
        self._port = port

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        seconds = request.extensions.get("timeout", {}).get("read")
        connection = h11.Connection(h11.CLIENT)
        with self._channels(seconds) as channels:
            for part in _sent(connection, request):
                channels.send(part)
            return self._received(connection, self._answers(channels))

    @contextmanager
    def _channels(self, seconds: float | None) -> Iterator[_Channels]:
        path = f"/api/v1/namespaces/{self._pod.namespace}/pods/{self._pod.name}/portforward"
        headers = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "sec-websocket-protocol": PROTOCOL,
        }
        try:
            with self._client.stream("GET", path, params={"ports": str(self._port)}, headers=headers) as response:
                if response.status_code != 101:
                    raise self._refused(response)
                yield _Channels(response.extensions["network_stream"], seconds)
        except (httpx2.HTTPError, httpcore2.NetworkError, httpcore2.TimeoutException, RemoteProtocolError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error

    def _answers(self, channels: _Channels) -> Iterator[bytes]:
        """What comes from the port, until its end."""
        named: set[int] = set()
        for channel, content in channels.messages():
            if channel not in named:  # its first words say which port it is
                named.add(channel)
                content = content[_PORT_BYTES:]  # noqa: PLW2901
            if channel == _ERROR and content:
                raise self._unreachable(content.decode(errors="replace"))
            if channel == _DATA and content:
                yield content

    def _received(self, connection: h11.Connection, answers: Iterator[bytes]) -> httpx2.Response:
        head: h11.Response | None = None
        body: list[bytes] = []
        try:
            while True:
                match connection.next_event():
                    case h11.NEED_DATA:
                        connection.receive_data(next(answers, b""))
                    case h11.Response() as head:
                        pass
                    case h11.Data(data=data):
                        body.append(bytes(data))
                    case h11.EndOfMessage() if head is not None:
                        headers = [(bytes(name), bytes(value)) for name, value in head.headers]
                        return httpx2.Response(head.status_code, headers=headers, content=b"".join(body))
                    case _:
                        raise self._unreachable("the connection ended before an answer came")
        except h11.ProtocolError as error:
            raise self._unreachable(f"what answers there does not speak HTTP ({error})") from error

    def _refused(self, response: httpx2.Response) -> PodUnreachableError:
        response.read()
        try:
            said = msgspec.json.decode(response.content, type=_Refusal).message
        except msgspec.MsgspecError:
            said = ""
        fix = "See kubectl get pods whether it runs"
        if response.status_code == 403:
            fix = "Have the verbs get and create on pods/portforward granted in that namespace"
        return self._unreachable(said or f"status {response.status_code}", fix=fix)

    def _unreachable(self, why: str, *, fix: str = "See kubectl get pods whether it runs") -> PodUnreachableError:
        return PodUnreachableError(
            f"port {self._port} of the Pod cannot be reached: {why}", where=f"Pod {self._pod}", fix=fix
        )


class _Channels:
    """The messages of a WebSocket, in the thread of who reads them: a reader of its own could outlive the socket."""

    def __init__(self, stream: httpcore2.NetworkStream, seconds: float | None) -> None:
        self._stream = stream
        self._seconds = seconds
        self._frames = Connection(ConnectionType.CLIENT)

    def send(self, content: bytes) -> None:
        self._stream.write(self._frames.send(BytesMessage(bytes([_DATA]) + content)), self._seconds)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Each with the number of its channel, until the other side ends."""
        message = b""
        while received := self._stream.read(_READ_BYTES, self._seconds):
            self._frames.receive_data(received)
            for event in self._frames.events():
                match event:
                    case BytesMessage(data=data, message_finished=finished):
                        message += data
                        if finished and message:
                            yield message[0], message[1:]
                            message = b""
                    case Ping():
                        self._stream.write(self._frames.send(event.response()), self._seconds)
                    case CloseConnection():
                        return


class _Refusal(msgspec.Struct):
    message: str = ""


def _sent(connection: h11.Connection, request: httpx2.Request) -> Iterable[bytes]:
    """The bytes of a request that closes its connection."""
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"connection"]
    headers.append((b"connection", b"close"))
    yield connection.send(h11.Request(method=request.method, target=request.url.raw_path, headers=headers)) or b""
    if content := request.read():
        yield connection.send(h11.Data(data=content)) or b""
    connection.send(h11.EndOfMessage())
