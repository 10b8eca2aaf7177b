"""Streams to a Pod through the API server, in one WebSocket: what `kubectl exec` and `port-forward` are made of.

Each message begins with the number of its channel (k8s.io/apimachinery pkg/util/remotecommand).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpcore2
import httpx2
import msgspec
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping
from wsproto.utilities import RemoteProtocolError

from smeagol.errors import SmeagolError

__all__ = ["Channels", "ChannelsError", "PodUnreachableError", "channels"]

_READ_BYTES = 65536


class ChannelsError(Exception):
    """The API server does not lead there, or the connection broke. `status`: of HTTP, 0 where there was none."""

    def __init__(self, what: str, *, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class PodUnreachableError(SmeagolError):
    """The API server does not lead to the Pod, or nothing answers there."""

    code = "SMI-K118"


class Channels:
    """The messages of a WebSocket, in the thread of who reads them: a reader of its own could outlive the socket."""

    def __init__(self, stream: httpcore2.NetworkStream, seconds: float | None) -> None:
        self._stream = stream
        self._seconds = seconds
        self._frames = Connection(ConnectionType.CLIENT)

    def send(self, channel: int, content: bytes) -> None:
        self._stream.write(self._frames.send(BytesMessage(bytes([channel]) + content)), self._seconds)

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


_REFUSAL = msgspec.json.Decoder(_Refusal)
"""Made here, as several threads must not be the first to use a type (msgspec 0.22)."""


@contextmanager
def channels(
    client: httpx2.Client, path: str, params: Sequence[tuple[str, str]], *, protocol: str, seconds: float | None
) -> Iterator[Channels]:
    """`seconds`: how long the other side may be silent. Raises ChannelsError."""
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "sec-websocket-protocol": protocol,
    }
    try:
        with client.stream("GET", path, params=list(params), headers=headers) as response:
            if response.status_code != 101:
                raise _refused(response)
            yield Channels(response.extensions["network_stream"], seconds)
    except (httpx2.HTTPError, httpcore2.NetworkError, httpcore2.TimeoutException, RemoteProtocolError) as error:
        raise ChannelsError(str(error) or type(error).__name__) from error


def _refused(response: httpx2.Response) -> ChannelsError:
    response.read()
    try:
        said = _REFUSAL.decode(response.content).message
    except msgspec.MsgspecError:
        said = response.text.strip()[:300]  # what a node says reaches us as it is
    return ChannelsError(said or f"status {response.status_code}", status=response.status_code)
