"""The way to ask a running standalone mesh: HTTP on a unix socket that only its user can open.

with Mesh.find() as mesh:
    for pod in mesh.status().pods: ...
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx2
import msgspec

from smeagol.control import Certificate, Status, Traffic
from smeagol.errors import SmeagolError
from smeagol.runtime.places import check_own, control_socket, default_base, state_folder

__all__ = ["BadReplyError", "LogTail", "Mesh", "MeshNotFoundError", "MeshRefusedError", "running_meshes"]

TIMEOUT_SECONDS = 10.0


class MeshNotFoundError(SmeagolError):
    """There is no running mesh to look into, or several and none was named."""

    code = "SMI-U001"


class MeshRefusedError(SmeagolError):
    """The mesh answered that it will not do what was asked."""

    code = "SMI-U002"


class BadReplyError(SmeagolError):
    """The mesh answered in a way this version of `smeagol` cannot read."""

    code = "SMI-U003"


class LogTail:
    """The complete lines that were added to a file since one last looked.

    The file may not exist yet. A full one may become `NAME.1` and make room for a new one (`infra.host.logs`): nothing
    is lost by that, if one looks now and then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._at = 0
        self._rest = b""

    def lines(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._rest += self._rest_of_full()
                    self._inode, self._at = inode, 0
                file.seek(self._at)
                added = file.read()
        except FileNotFoundError:
            return []
        self._at += len(added)
        complete, newline, self._rest = (self._rest + added).rpartition(b"\n")
        return (complete + newline).decode(errors="replace").splitlines()

    def _rest_of_full(self) -> bytes:
        """What was added to the file that was read so far, before it was put aside."""
        with suppress(FileNotFoundError), self._path.with_name(f"{self._path.name}.1").open("rb") as full:
            if os.fstat(full.fileno()).st_ino == self._inode:
                full.seek(self._at)
                return full.read()
        return b""


_T = TypeVar("_T")


def running_meshes(state_dir: Path) -> tuple[str, ...]:
    """The names of the meshes under `state_dir` whose sockets answer, in order. A socket left behind does not count."""
    folders = state_dir.iterdir() if state_dir.is_dir() else ()
    return tuple(sorted(folder.name for folder in folders if _accepts(control_socket(folder))))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class Mesh:
    """A running mesh, reached by its socket. Methods raise MeshNotFoundError, MeshRefusedError, BadReplyError."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the mesh's private folder: its control socket and its logs are there."""
        self.name = folder.name
        self.folder = folder
        transport = httpx2.HTTPTransport(uds=str(control_socket(folder)))
        self._http = httpx2.Client(transport=transport, base_url="http://smeagol", timeout=TIMEOUT_SECONDS)

    @classmethod
    def find(cls, name: str = "", state_dir: Path | None = None) -> Self:
        """The mesh of that name, or the only one that runs."""
        folder = state_dir or default_base()
        if state_dir is None:  # a name that everybody knows, maybe in a folder where everybody writes
            check_own(folder)
        running = running_meshes(folder)
        if name and name not in running:
            others = f"Running: {', '.join(running)}" if running else f"Start it with: smeagol up -f DIR --name {name}"
            raise MeshNotFoundError(f"no mesh named {name!r} is running", where=str(folder), fix=others)
        if not name and not running:
            raise MeshNotFoundError(
                "no mesh is running", where=str(folder), fix="Start one with: smeagol up -f DIR (or try smeagol demo)"
            )
        if not name and len(running) > 1:
            names = ", ".join(running)
            raise MeshNotFoundError(
                f"several meshes are running: {names}", where=str(folder), fix=f"Choose one: --name {running[0]}"
            )
        return cls(state_folder(name or running[0], folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def exec_socket(self) -> Path:
        """Where commands are run in Pods (`smeagol.infra.host.exec`)."""
        return self.folder / "exec.sock"

    def logs_of(self, namespace: str, pod: str) -> Path:
        """The folder with one `<container>.log` for each container of a Pod that has started."""
        return self.folder / "logs" / f"{namespace}_{pod}"

    def status(self) -> Status:
        return self._decoded(self._ask("GET", "/v1/status"), Status)

    def traffic(self) -> Traffic:
        return self._decoded(self._ask("GET", "/v1/traffic"), Traffic)

    def proxy_config(self, namespace: str, pod: str, type_: str = "") -> bytes:
        """What was sent to the proxy of a Pod, as JSON: all of it, or `listeners`, `clusters`, `routes`, … alone."""
        query = {"type": type_} if type_ else {}
        return self._ask("GET", f"/v1/proxies/{namespace}/{pod}/config", params=query)

    def restart(self, kind: str, namespace: str, name: str) -> None:
        """Replace the Pods of a Deployment, one after the other."""
        self._ask("POST", "/v1/restart", json={"namespace": namespace, "kind": kind, "name": name})

    def rotate(self, what: Literal["certificates", "root"]) -> None:
        """Renew every certificate now, or begin to replace the root."""
        self._ask("POST", "/v1/rotate", json={"what": what})

    def issue_certificate(self, names: Sequence[str]) -> Certificate:
        """A client certificate for somebody outside the mesh."""
        return self._decoded(self._ask("POST", "/v1/certificates", json={"names": list(names)}), Certificate)

    def stop(self) -> None:
        self._ask("POST", "/v1/stop", json={})

    def _ask(
        self, method: str, path: str, *, params: dict[str, str] | None = None, json: Mapping[str, object] | None = None
    ) -> bytes:
        try:
            response = self._http.request(method, path, params=params, json=json)
        except httpx2.TransportError as error:
            raise MeshNotFoundError(
                f"mesh {self.name!r} does not answer ({error})", fix="It may just have stopped; look at its terminal"
            ) from error
        if response.status_code >= 400:
            raise MeshRefusedError(_reason(response.text) or f"status {response.status_code}", where=f"{method} {path}")
        return response.content

    def _decoded(self, answer: bytes, type_: type[_T]) -> _T:
        try:
            return msgspec.json.decode(answer, type=type_)
        except msgspec.MsgspecError as error:
            raise BadReplyError(
                f"mesh {self.name!r} gave an answer that cannot be read: {error}",
                fix="Use the same version of smeagol for the mesh and for this command",
            ) from error


class _Refusal(msgspec.Struct):
    message: str = ""
    error: str = ""


def _reason(text: str) -> str:
    try:
        refusal = msgspec.json.decode(text, type=_Refusal)
    except msgspec.MsgspecError:
        return text.strip()
    return refusal.message or refusal.error
