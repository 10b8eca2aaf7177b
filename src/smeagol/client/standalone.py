"""The way to ask a running standalone mesh: HTTP on a unix socket that only its user can open.

with Mesh.find() as mesh:
    for pod in mesh.status().pods: ...
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx2

from smeagol.client.asking import Asked, MeshNotFoundError, SeveralMeshesError
from smeagol.control import Certificate, Status, Traffic
from smeagol.runtime.places import check_own, control_socket, default_base, state_folder

__all__ = ["LogTail", "Mesh", "running_meshes"]

PROBE_SECONDS = 10.0


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


def running_meshes(state_dir: Path) -> tuple[str, ...]:
    """The names of the meshes under `state_dir` whose sockets answer, in order. A socket left behind does not count."""
    folders = state_dir.iterdir() if state_dir.is_dir() else ()
    return tuple(sorted(folder.name for folder in folders if _accepts(control_socket(folder))))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
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
        self._asked = Asked(self.name, httpx2.HTTPTransport(uds=str(control_socket(folder))))

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
            raise SeveralMeshesError(
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
        self._asked.close()

    @property
    def exec_socket(self) -> Path:
        """Where commands are run in Pods (`smeagol.infra.host.exec`)."""
        return self.folder / "exec.sock"

    def logs_of(self, namespace: str, pod: str) -> Path:
        """The folder with one `<container>.log` for each container of a Pod that has started."""
        return self.folder / "logs" / f"{namespace}_{pod}"

    def status(self) -> Status:
        return self._asked.get("/v1/status", Status)

    def traffic(self) -> Traffic:
        return self._asked.get("/v1/traffic", Traffic)

    def proxy_config(self, namespace: str, pod: str, type_: str = "") -> bytes:
        """What was sent to the proxy of a Pod, as JSON: all of it, or `listeners`, `clusters`, `routes`, … alone."""
        query = {"type": type_} if type_ else {}
        return self._asked.ask("GET", f"/v1/proxies/{namespace}/{pod}/config", params=query)

    def restart(self, kind: str, namespace: str, name: str) -> None:
        """Replace the Pods of a Deployment, one after the other."""
        self._asked.ask("POST", "/v1/restart", json={"namespace": namespace, "kind": kind, "name": name})

    def rotate(self, what: Literal["certificates", "root"]) -> None:
        """Renew every certificate now, or begin to replace the root."""
        self._asked.ask("POST", "/v1/rotate", json={"what": what})

    def issue_certificate(self, names: Sequence[str]) -> Certificate:
        """A client certificate for somebody outside the mesh."""
        return self._asked.decoded(
            self._asked.ask("POST", "/v1/certificates", json={"names": list(names)}), Certificate
        )

    def stop(self) -> None:
        self._asked.ask("POST", "/v1/stop", json={})
