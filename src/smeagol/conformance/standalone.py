"""The suite on one machine: a folder of manifests, the mesh's control socket, and commands in its Pods."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import msgspec
import yaml

from smeagol.client import Mesh, MeshNotFoundError
from smeagol.conformance.driver import Credentials, Event, Made, Manifest, Output, PodSeen, reference
from smeagol.conformance.limits import Limits
from smeagol.conformance.model import ConformanceError
from smeagol.infra.host.exec import exec_in_pod
from smeagol.infra.host.linux import die_with_parent
from smeagol.refs import PodRef

__all__ = ["Standalone", "started"]

PREFIX = "smi-conformance."
STOP_SECONDS = 20.0


class NotStartedError(ConformanceError):
    """`smeagol up` ended with words of its own, which have a code: that of what is to be mended."""

    def __str__(self) -> str:
        return self.what


class Standalone:
    """A `Driver` on a running mesh."""

    mode = "standalone"
    data_plane = True

    def __init__(self, mesh: Mesh, limits: Limits) -> None:
        self._mesh = mesh
        self._limits = limits
        self._folder = Path(mesh.status().mesh.directory)

    def version(self, controller: str) -> str:
        return self._mesh.status().mesh.version

    def facts(self) -> Mapping[str, str]:
        mesh = self._mesh.status().mesh
        return {"clusterDomain": mesh.cluster_domain, "trustDomain": mesh.trust_domain}

    def apply(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            self._write(self._path(manifest), manifest)

    def delete(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            self._path(manifest).unlink(missing_ok=True)

    def refusal(self, manifest: Manifest) -> str:
        """As long as its file is there, the mesh's problems name it if it is refused."""
        path = self._path(manifest)
        before = path.read_text() if path.exists() else None
        kind, namespace, name = reference(manifest)
        generation = self._generation(kind, namespace, name)
        self._write(path, manifest)
        try:
            return self._judged(path, lambda: self._generation(kind, namespace, name) > generation)
        finally:
            if before is None:
                path.unlink()
            else:
                self._write(path, yaml.safe_load(before))
            self._forgotten(path.name)

    def _judged(self, path: Path, taken: Callable[[], bool]) -> str:
        """What is said against a file, or nothing as soon as it is taken."""
        deadline = time.monotonic() + self._limits.condition
        while time.monotonic() < deadline and not taken():
            if said := self._complaints(path.name):
                return said
            time.sleep(self._limits.poll)
        return ""

    def _forgotten(self, file: str) -> None:
        """Wait until nothing is said against a file any more, so that the next question has its own answer."""
        deadline = time.monotonic() + self._limits.condition
        while self._complaints(file) and time.monotonic() < deadline:
            time.sleep(self._limits.poll)

    def _complaints(self, file: str) -> str:
        problems = self._mesh.status().problems
        return "; ".join(f"{p.where}: {p.message}. {p.fix}" for p in problems if file in p.where)

    def _generation(self, kind: str, namespace: str, name: str) -> int:
        found = self.get(kind, namespace, name)
        return int(found["metadata"]["generation"]) if found else 0

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        for found in self._mesh.status().objects:
            if (found.kind, found.namespace, found.name) == (kind, namespace, name):
                return {
                    "kind": kind,
                    "metadata": {"namespace": namespace, "name": name, "generation": found.generation},
                    "status": msgspec.to_builtins(found.status),
                }
        return None

    def default_class(self) -> str | None:
        """A mesh of one machine has one provider."""

    def pod(self, namespace: str, name: str) -> PodSeen | None:
        return next((pod for pod in self.pods(namespace) if pod.name == name), None)

    def pods(self, namespace: str) -> Sequence[PodSeen]:
        return [
            PodSeen(name=p.name, ips=p.ips, ready=p.ready, restarts=p.restarts)
            for p in self._mesh.status().pods
            if p.namespace == namespace
        ]

    def cluster_ips(self, namespace: str, service: str) -> tuple[str, ...]:
        found = (s.cluster_ips for s in self._mesh.status().services if (s.namespace, s.name) == (namespace, service))
        return next(found, ())

    def events(self, kind: str, namespace: str, name: str) -> Sequence[Event]:
        return [
            Event(type=e.type, reason=e.reason, message=e.message)
            for e in self._mesh.status().events
            if e.object == f"{kind} {namespace}/{name}"
        ]

    def made_for(self, namespace: str, uid: str) -> Sequence[Made]:
        """None: the mesh is its own, and its proxies run."""
        return ()

    def exec(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Output:
        with tempfile.TemporaryFile() as into, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            into.write(stdin.encode())
            into.seek(0)
            stdio = (into.fileno(), out.fileno(), err.fileno())
            # Ctrl-C is for the suite, not for what runs in the Pod.
            code = exec_in_pod(self._mesh.exec_socket, PodRef(namespace, pod), command, stdio=stdio, signals=False)
            out.seek(0)
            err.seek(0)
            return Output(code=code, text=out.read().decode(), errors=err.read().decode(errors="replace"))

    def background(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Callable[[], Output]:
        arguments = ["exec", "--name", self._mesh.name, "--state-dir", str(self._mesh.folder.parent)]
        with tempfile.TemporaryFile() as into:
            into.write(stdin.encode())
            into.seek(0)
            child = subprocess.Popen(
                _smeagol(*arguments, f"{namespace}/{pod}", "--", *command),
                stdin=into,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        def ended() -> Output:
            text, errors = child.communicate()
            return Output(code=child.returncode, text=text, errors=errors)

        return ended

    def scrape(self, url: str) -> str:
        return httpx2.get(url, timeout=10, trust_env=False).raise_for_status().text

    def credentials(self, names: Sequence[str]) -> Credentials | None:
        made = self._mesh.issue_certificate(names)
        return Credentials(certificate=made.certificate, key=made.key, roots=made.roots)

    def _path(self, manifest: Manifest) -> Path:
        return self._folder / (PREFIX + ".".join(part.lower() for part in reference(manifest) if part) + ".yaml")

    def _write(self, path: Path, manifest: Manifest) -> None:
        """In one move, so that no half of it is ever read."""
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(yaml.safe_dump(manifest, sort_keys=False))
        draft.replace(path)


@contextmanager
def started(provider: str, limits: Limits) -> Iterator[Standalone]:
    """`smeagol up` on an empty folder of its own, as a user would start it; ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="smi-conformance-", ignore_cleanup_errors=True) as base:
        folder = Path(base) / "manifests"
        folder.mkdir()
        said = Path(base) / "up.log"
        with said.open("wb") as log:
            child = subprocess.Popen(
                _smeagol("up", "-f", str(folder), "--state-dir", base, "--provider", provider),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the suite, which then stops the mesh
                preexec_fn=lambda: die_with_parent(signal.SIGTERM),  # noqa: PLW1509  (there is one thread)
            )
        try:
            with _answering(child, Path(base), said, limits) as mesh:
                yield Standalone(mesh, limits)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()


def _answering(child: subprocess.Popen[bytes], base: Path, said: Path, limits: Limits) -> Mesh:
    deadline = time.monotonic() + limits.start
    while child.poll() is None and time.monotonic() < deadline:
        try:
            mesh = Mesh.find("default", base)
            mesh.status()
        except MeshNotFoundError:
            time.sleep(limits.poll)
        else:
            return mesh
    last = said.read_text(errors="replace").strip().rpartition("\n")[2].removeprefix("smeagol: ")
    if re.search(r" \[SMI-[A-Z][0-9]{3}\]$", last):
        raise NotStartedError(f"the mesh did not start: {last}")
    raise ConformanceError("the mesh did not start" + (f": {last}" if last else ""))


def _smeagol(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from smeagol.cli import main; main()", *arguments]
