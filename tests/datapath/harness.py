"""A running mesh as its user sees it: a folder of manifests that is edited, what `smeagol` tells, and its Pods.

    with running(pod("web", "http:8080"), service("web"), pod("client"), mutual_tls()) as mesh:
        answer = mesh.app("client").get("http://web/")

Whatever changes the folder waits until the mesh says that the change is true everywhere, so a test states only what
then holds. Nothing here looks into the product: it reads the control socket, and runs commands in Pods.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2

from datapath.app import App
from datapath.manifests import Manifest, reference
from infra.harness import NOBODY, SOURCES, python_for_nobody
from smeagol.client import Mesh as Client
from smeagol.control import Condition, Pod, SmiObject, Status
from smeagol.errors import SmeagolError
from smeagol.infra.host.exec import ExecError, exec_in_pod
from smeagol.refs import PodRef

__all__ = ["Mesh", "eventually", "lagging", "running"]

START_SECONDS = 60.0
CHANGE_SECONDS = 90.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.05
LOG_LINES = 15
PYTHON_PATH = f"{SOURCES}:{sysconfig.get_paths()['purelib']}"
"""Where a Python that is not of this environment finds the project and its libraries."""

Ref = tuple[str, str, str]
T = TypeVar("T")

SMI = frozenset({"MutualTLS", "Canary", "Sidecar"})


def eventually(check: Callable[[], T], *, seconds: float = 60.0) -> T:
    """What `check` returns, as soon as it raises no AssertionError; its last one if it always does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


@contextmanager
def running(*objects: Manifest, user: str = "", options: Sequence[str] = ()) -> Iterator[Mesh]:
    """`smeagol up` on a folder with these objects, once all of them are in force; it must end with exit code 0.

    `user`: `nobody` runs it as that user, for tests that root runs. `options`: further ones of `smeagol up`.
    """
    # Not pytest's tmp_path: the path of a Unix socket has 107 characters.
    base = Path(tempfile.mkdtemp(prefix="sme-"))
    mesh = Mesh(base, user=user, options=options)
    try:
        try:
            mesh.start()
            mesh.apply(*objects)
        except Exception as error:
            error.add_note(mesh.story())
            raise
        Mesh.alive.append(mesh)
        yield mesh
        assert mesh.stop() == 0, mesh.said()
    finally:
        if mesh in Mesh.alive:
            Mesh.alive.remove(mesh)
        mesh.kill()
        shutil.rmtree(base, ignore_errors=True)


@dataclass(slots=True)
class Output:
    code: int
    text: str
    errors: str


class Mesh:
    """One `smeagol up`, its folder, and the Pods in it."""

    alive: list[Mesh] = []  # noqa: RUF012  # one list for the whole process, for the report of a failed test

    def __init__(self, base: Path, *, user: str = "", options: Sequence[str] = ()) -> None:
        self.folder = base / "m"
        self._user = user
        self._options = options
        self.state = base / "default"
        self._base = base
        self._process: subprocess.Popen[bytes] | None = None
        self._client = Client(self.state)
        self._apps: dict[tuple[str, str], App] = {}
        (self.folder / "run").mkdir(parents=True)
        here = Path(__file__).parent
        shutil.copytree(here / "apps", self.folder / "datapath" / "apps", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(here / "__init__.py", self.folder / "datapath" / "__init__.py")
        if user == "nobody":
            for path in (base, *base.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    # The process.

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        arguments = ["up", "-f", str(self.folder), "--state-dir", str(self._base), *self._options]
        ordinary = self._user == "nobody"
        with (self._base / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                smeagol(*arguments, python=python_for_nobody() if ordinary else sys.executable),
                cwd=Path(__file__).parents[2],  # Pods see it, wherever the checkout is
                env={**os.environ, "HOME": "/", "PYTHONPATH": PYTHON_PATH} if ordinary else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=NOBODY if ordinary else None,
                group=NOBODY if ordinary else None,
                extra_groups=[] if ordinary else None,
            )

        def up() -> None:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(self.said())
            try:
                self.status()
            except SmeagolError as error:
                raise AssertionError(str(error)) from error

        eventually(up, seconds=START_SECONDS)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        with suppress(OSError):
            return (self._base / "up.log").read_text(errors="replace")
        return ""

    # The folder.

    def apply(self, *objects: Manifest, wait: bool = True) -> None:
        """Write the objects' files, one each, and wait until the mesh says that all is as they want it."""
        before = self.status()
        generations = {(o.kind, o.namespace, o.name): o.generation for o in before.objects}
        changed: dict[Ref, Manifest] = {}
        for manifest in objects:
            if self.write(_file(reference(manifest)), json.dumps(manifest, indent=1)):
                changed[reference(manifest)] = manifest
        if wait:
            self.wait_for(lambda status: _unmet(status, changed, generations))
            self._reach_the_host()

    def write(self, name: str, text: str) -> bool:
        """Put a file into the folder in one move, as editors do; False if it says this already."""
        path = self.folder / name
        if path.exists() and path.read_text() == text:
            return False
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(path)
        return True

    def delete(self, *objects: Manifest, wait: bool = True) -> None:
        """Remove the objects' files and wait until the mesh has forgotten them."""
        refs = {reference(manifest) for manifest in objects}
        for ref in refs:
            (self.folder / _file(ref)).unlink(missing_ok=True)
            self._apps.pop(ref[1:], None)
        if wait:
            self.wait_for(lambda status: _there(status, refs) or lagging(status))
            self._reach_the_host()

    def delete_all(self, kind: str) -> None:
        """Remove all objects of a kind."""
        for path in self.folder.glob(f"{kind.lower()}.*.yaml"):
            path.unlink()
        self.wait_for(lambda s: f"no {kind}" if any(o.kind == kind for o in s.objects) else lagging(s))

    def _reach_the_host(self) -> None:
        """Return when the host has done what the mesh has told it: it does one thing after the other, and rules of
        Services, which lead clients without a proxy, come a moment after the status that tells of them.
        """
        with suppress(ExecError):
            exec_in_pod(self.state / "exec.sock", PodRef("no", "body"), ["true"])

    @contextmanager
    def having(self, *objects: Manifest) -> Iterator[None]:
        """These objects for a while."""
        self.apply(*objects)
        try:
            yield
        finally:
            self.delete(*objects)

    # What the mesh says.

    def status(self) -> Status:
        return self._client.status()

    def wait_for(self, missing: Callable[[Status], str], *, seconds: float = CHANGE_SECONDS) -> Status:
        """The first status of which `missing` says nothing; what it says last is the failure."""

        def check() -> Status:
            status = self.status()
            assert (words := missing(status)) == "", f"still waiting for {words}"
            return status

        return eventually(check, seconds=seconds)

    def smi(self, kind: str, name: str, namespace: str = "default") -> SmiObject:
        return next(o for o in self.status().objects if (o.kind, o.namespace, o.name) == (kind, namespace, name))

    def condition(self, type_: str, kind: str, name: str, namespace: str = "default") -> Condition:
        found = self.smi(kind, name, namespace).status.condition(type_)
        assert found is not None, f"{kind} {name} has no condition {type_}"
        return found

    def pod(self, name: str, namespace: str = "default") -> Pod:
        return next(p for p in self.status().pods if (p.namespace, p.name) == (namespace, name))

    def pods_of(self, workload: str, namespace: str = "default") -> list[Pod]:
        """The Pods of a Deployment that are not on their way out."""
        return [
            p
            for p in self.status().pods
            if (p.namespace, p.workload) == (namespace, workload) and p.phase != "Terminating"
        ]

    def ips(self, name: str, namespace: str = "default") -> tuple[str, ...]:
        return self.pod(name, namespace).ips

    def cluster_ips(self, name: str, namespace: str = "default") -> tuple[str, ...]:
        found = next(s for s in self.status().services if (s.namespace, s.name) == (namespace, name))
        return found.cluster_ips

    def ask(self, path: str, body: Mapping[str, object], *, seconds: float = 30.0) -> Mapping[str, str]:
        """POST to the control socket; what it answers."""
        transport = httpx2.HTTPTransport(uds=str(self.state / "smeagol.sock"))
        with httpx2.Client(transport=transport, base_url="http://smeagol", timeout=seconds) as http:
            answer = http.post(path, json=dict(body)).raise_for_status()
        told: Mapping[str, str] = answer.json()
        return told

    def roots(self) -> str:
        """The certificates that the mesh trusts now (PEM)."""
        return self.ask("/v1/certificates", {"names": ["reader.example"]})["roots"]

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        answer = httpx2.get(self.status().mesh.metrics_url, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.text

    # The Pods.

    def app(self, name: str, namespace: str = "default") -> App:
        """The test program in a Pod."""
        key = (namespace, name)
        if key not in self._apps:
            self._apps[key] = App(self.folder / "run" / f"{name}.{namespace}.sock")
        return self._apps[key]

    def forget_apps(self) -> None:
        """After a restart of their Pods' containers, programs are spoken to anew."""
        self._apps.clear()

    def exec(self, pod: str, *command: str, namespace: str = "default") -> Output:
        """Run a command in a Pod, as `smeagol exec` does."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as nothing:
            code = exec_in_pod(
                self.state / "exec.sock",
                PodRef(namespace, pod),
                command,
                stdio=(nothing.fileno(), out.fileno(), err.fileno()),
            )
            return Output(code, _content(out), _content(err))

    # For the report of a failed test.

    def story(self) -> str:
        """What one wants to know when a test has failed."""
        out = io.StringIO()
        print(self.said()[-3000:], file=out)
        try:
            status = self.status()
        except SmeagolError as error:
            print(error, file=out)
        else:
            for problem in status.problems:
                print(f"problem: {problem.where}: {problem.message}", file=out)
            for each in status.objects:
                conditions = "; ".join(f"{c.type}={c.status} {c.reason}: {c.message}" for c in each.status.conditions)
                print(f"{each.kind} {each.namespace}/{each.name} [{each.summary}] {conditions}", file=out)
            for pod in status.pods:
                words = f"{pod.phase}{'' if pod.ready else ', not ready'}, {pod.restarts} restarts {pod.message}"
                print(f"Pod {pod.namespace}/{pod.name} {','.join(pod.ips)} {words} {pod.proxy}", file=out)
        for log in sorted((self.state / "logs").glob("*/*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if "no configured limit" not in line]
            if lines:
                print(f"--- {log.parent.name}/{log.name}", *lines[-LOG_LINES:], sep="\n", file=out)
        return out.getvalue()


def smeagol(*arguments: str, python: str = sys.executable) -> list[str]:
    """This installation's own `smeagol`."""
    return [python, "-c", "from smeagol.cli import main; main()", *arguments]


def _file(ref: Ref) -> str:
    kind, namespace, name = ref
    return f"{kind.lower()}.{namespace}.{name}.yaml"


def _content(file: io.BufferedRandom | io.BufferedIOBase) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _unmet(status: Status, changed: Mapping[Ref, Manifest], generations: Mapping[Ref, int]) -> str:
    for ref, manifest in changed.items():
        if words := _missing(status, ref, manifest, generations.get(ref, 0)):
            return f"{' '.join(ref)}: {words}"
    return lagging(status)


def _missing(status: Status, ref: Ref, manifest: Manifest, generation: int) -> str:
    kind, namespace, name = ref
    match kind:
        case "Pod" | "Deployment":
            wanted = manifest["spec"].get("replicas", 1)
            pods = [p for p in status.pods if (p.namespace, p.workload) == (namespace, name)]
            ready = [p for p in pods if p.ready]
            if len(pods) != wanted or len(ready) != wanted:
                return "; ".join(f"{p.name} {p.phase} {p.message}" for p in pods) or "its Pods"
            return ""
        case "Service":
            wanted = {port["port"] for port in manifest["spec"]["ports"]}
            found = next((s for s in status.services if (s.namespace, s.name) == (namespace, name)), None)
            return "" if found is not None and {port.port for port in found.ports} == wanted else "being there"
        case "EndpointSlice":
            of = (namespace, manifest["metadata"]["labels"]["kubernetes.io/service-name"])
            found = next((s for s in status.services if (s.namespace, s.name) == of), None)
            return "" if found is not None and any(port.endpoints for port in found.ports) else "being read"
        case kind if kind in SMI:
            return _smi_missing(status, ref, generation)
        case _:
            return ""


def _smi_missing(status: Status, ref: Ref, generation: int) -> str:
    found = next((o for o in status.objects if (o.kind, o.namespace, o.name) == ref), None)
    if found is None or found.generation <= generation:
        return "being read"
    accepted, programmed = found.status.condition("Accepted"), found.status.condition("Programmed")
    if accepted is None or accepted.observed_generation < found.generation:
        return "being judged"
    if accepted.status == "False":
        return ""  # it has been judged, and nothing is to be programmed
    return "" if programmed is not None and programmed.status == "True" else f"Programmed: {programmed}"


def lagging(status: Status) -> str:
    """Which proxies of Pods that are ready have not taken over all that there is; nothing if none."""
    late = [f"{p.namespace}/{p.name}" for p in status.pods if p.ready and p.proxy is not None and not p.proxy.synced]
    return f"the proxies of {', '.join(late)}" if late else ""


def _there(status: Status, refs: set[Ref]) -> str:
    present = {(o.kind, o.namespace, o.name) for o in status.objects}
    present |= {("Service", s.namespace, s.name) for s in status.services}
    present |= {(kind, p.namespace, p.workload) for p in status.pods for kind in ("Pod", "Deployment")}
    return ", ".join(" ".join(ref) for ref in sorted(refs & present))
