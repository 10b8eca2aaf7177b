"""HTTP to a port inside a Pod, through the API server: what `kubectl port-forward` does, for one request after another.

So a server may listen on the Pod's loopback alone, and who may reach it is decided by RBAC (`pods/portforward`).

The subprotocol is the kubelet's own (`v4.channel.k8s.io`), which the API server passes through: each message begins
with the number of its channel, and each channel first names its port (k8s.io/cri-streaming portforward/websocket.go).
It has no half-close, which HTTP does not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h11
import httpx2

from smeagol.infra.kubernetes.channels import Channels, ChannelsError, PodUnreachableError, channels
from smeagol.refs import PodRef

__all__ = ["PodUnreachableError", "PortForward"]

PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2


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
        path = f"/api/v1/namespaces/{self._pod.namespace}/pods/{self._pod.name}/portforward"
        query = [("ports", str(self._port))]
        try:
            with channels(self._client, path, query, protocol=PROTOCOL, seconds=seconds) as opened:
                for part in _sent(connection, request):
                    opened.send(_DATA, part)
                return self._received(connection, self._answers(opened))
        except ChannelsError as error:
            fix = "See kubectl get pods whether it runs"
            if error.status == 403:
                fix = "Have the verbs get and create on pods/portforward granted in that namespace"
            raise self._unreachable(str(error), fix=fix) from error

    def _answers(self, opened: Channels) -> Iterator[bytes]:
        """What comes from the port, until its end."""
        named: set[int] = set()
        for channel, content in opened.messages():
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

    def _unreachable(self, why: str, *, fix: str = "See kubectl get pods whether it runs") -> PodUnreachableError:
        return PodUnreachableError(
            f"port {self._port} of the Pod cannot be reached: {why}", where=f"Pod {self._pod}", fix=fix
        )


def _sent(connection: h11.Connection, request: httpx2.Request) -> Iterable[bytes]:
    """The bytes of a request that closes its connection."""
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"connection"]
    headers.append((b"connection", b"close"))
    yield connection.send(h11.Request(method=request.method, target=request.url.raw_path, headers=headers)) or b""
    if content := request.read():
        yield connection.send(h11.Data(data=content)) or b""
    connection.send(h11.EndOfMessage())
