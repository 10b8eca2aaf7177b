"""A command in a container of a Pod, through the API server: what `kubectl exec -i` does.

The subprotocol is `v5.channel.k8s.io`, which can tell that stdin has ended (Kubernetes 1.30 and later).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
import msgspec

from smeagol.infra.kubernetes.channels import ChannelsError, PodUnreachableError, channels
from smeagol.refs import PodRef

__all__ = ["Finished", "exec_in_container"]

PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    code: int
    stdout: str
    stderr: str


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Status(msgspec.Struct, frozen=True):
    """How it ended (meta/v1 Status). An exit code is among the causes."""

    status: str = ""
    message: str = ""
    details: _Details = _Details()


_END = msgspec.json.Decoder(_Status)
"""Made here, as several threads must not be the first to use a type (msgspec 0.22)."""


def exec_in_container(
    client: httpx2.Client,
    pod: PodRef,
    container: str,
    command: Sequence[str],
    *,
    stdin: str = "",
    silent_seconds: float = 120.0,
) -> Finished:
    """Run it to its end; it may be silent for so long. Raises PodUnreachableError."""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/exec"
    params = [("container", container), ("stdout", "true"), ("stderr", "true"), ("stdin", "true")]
    params += [("command", part) for part in command]
    heard = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    where = f"Pod {pod}, container {container}"
    try:
        with channels(client, path, params, protocol=PROTOCOL, seconds=silent_seconds) as opened:
            if stdin:
                opened.send(_STDIN, stdin.encode())
            opened.send(_CLOSE, bytes([_STDIN]))
            for channel, content in opened.messages():
                heard.setdefault(channel, bytearray()).extend(content)
    except ChannelsError as error:
        fix = "See kubectl get pods whether it runs"
        if error.status == 403:
            fix = "Have the verbs get and create on pods/exec granted in that namespace"
        raise PodUnreachableError(f"the command could not be run: {error}", where=where, fix=fix) from error
    return Finished(
        code=_code(bytes(heard[_STATUS]), where),
        stdout=heard[_STDOUT].decode(errors="replace"),
        stderr=heard[_STDERR].decode(errors="replace"),
    )


def _code(said: bytes, where: str) -> int:
    try:
        status = _END.decode(said)
    except msgspec.MsgspecError as error:
        raise PodUnreachableError("the connection ended before the command did", where=where) from error
    if status.status == "Success":
        return 0
    for cause in status.details.causes:
        if cause.reason == "ExitCode" and cause.message.isdigit():
            return int(cause.message)
    raise PodUnreachableError(f"the command could not be run: {status.message or 'no reason is given'}", where=where)
