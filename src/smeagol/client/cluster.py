"""A mesh in a cluster: its replicas are asked by port-forward, and the API server itself where none of them answers.

Who may look into a mesh is so decided by RBAC: the verbs `get` and `create` on `pods/portforward` in the control
plane's namespace, and `list` on Pods there. What the API server knows by itself is read with the user's own rights.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx2
import msgspec

from smeagol.api import SmiObject
from smeagol.client.asking import Asked, BadReplyError
from smeagol.client.merging import merged_status, merged_traffic
from smeagol.control import Event, MeshInfo, Problem, Status, Traffic
from smeagol.derive import Source
from smeagol.errors import SmeagolError
from smeagol.infra.kubernetes.connection import connect_blocking, context_name
from smeagol.infra.kubernetes.port_forward import PortForward
from smeagol.install import ApiServer
from smeagol.install.api_server import Live, RefusedError
from smeagol.install.manifests import CONTROL_PORT, CONTROLLER_NAME, SELECTOR
from smeagol.install.removing import REPORTER
from smeagol.install.resources import EVENT, POD
from smeagol.intent import PROXY_CONTAINER, Resolver, Settings
from smeagol.objects import Pod
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.views import cluster_status
from smeagol.sources.kubernetes import Decoded, Kind, ObjectKey, kinds

__all__ = ["ClusterMesh", "ControlPlaneAwayError"]

T = TypeVar("T")
D = TypeVar("D", bound=Decoded)

USUAL_NAMESPACE = "smeagol-system"


class ControlPlaneAwayError(SmeagolError):
    """No replica of the control plane answers."""

    code = "SMI-U005"


class ClusterMesh:
    """The mesh of a cluster. Raises ServerSilentError and RefusedError of the API server besides its own errors."""

    def __init__(self, client: httpx2.Client, name: str) -> None:
        self.name = name
        self._client = client
        self._server = ApiServer(client)

    @classmethod
    def find(cls, kubeconfig: Path | None = None, context: str = "") -> Self:
        """By the same rules as kubectl. Raises ClusterUnreachableError; nothing is sent yet."""
        return cls(connect_blocking(kubeconfig, context), context_name(kubeconfig, context))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def status(self) -> Status:
        """As the replicas tell it; where none answers, what the API server has, with a problem that says so."""
        try:
            answers, faults = self._ask_all("/v1/status", Status)
            found = merged_status(answers)
            silent = tuple(Problem(where=f.where, message=f.what, code=f.code, fix=f.fix) for f in faults)
            found = msgspec.structs.replace(found, problems=(*silent, *found.problems))
        except ControlPlaneAwayError as away:
            found = self._without_replicas(away)
        named = msgspec.structs.replace(found.mesh, name=self.name)
        return msgspec.structs.replace(found, mesh=named, events=tuple(self._events()))

    def traffic(self) -> Traffic:
        """Raises ControlPlaneAwayError."""
        answers, _ = self._ask_all("/v1/traffic", Traffic)
        return merged_traffic(answers, at=time.monotonic())

    def proxy_config(self, namespace: str, pod: str, type_: str = "") -> bytes:
        """Every replica plans for every proxy, but only the one that has it connected has its certificates."""
        query = {"type": type_} if type_ else {}
        return self._holder(namespace, pod).ask("GET", f"/v1/proxies/{namespace}/{pod}/config", params=query)

    def proxy_stats(self, namespace: str, pod: str, only: str = "") -> str:
        """The proxy's counters as Prometheus reads them, those that match. Raises MeshRefusedError."""
        text = self._holder(namespace, pod).ask("GET", f"/v1/proxies/{namespace}/{pod}/stats").decode()
        wanted = re.compile(only)
        lines = (line for line in text.splitlines() if line and not line.startswith("#"))
        return "".join(f"{line}\n" for line in lines if wanted.search(line))

    def log(self, namespace: str, pod: str, container: str = "", *, follow: bool = False) -> Iterator[str]:
        """Lines of a container's log; without a name, of the Pod's first that is not the proxy."""
        if not container:
            live = self._server.get(POD, pod, namespace)
            names = [c.name for c in live.as_(Pod).spec.containers] if live is not None else []
            container = next((name for name in names if name != PROXY_CONTAINER), "")
        query = {"container": container} | ({"follow": "true"} if follow else {})
        path = f"{POD.path(namespace, pod)}/log"
        timeout = httpx2.Timeout(10.0, read=None if follow else 10.0)
        with self._client.stream("GET", path, params=query, timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
                raise RefusedError(answer.text.strip()[:500], status=answer.status_code, where=f"Pod {namespace}/{pod}")
            yield from answer.iter_lines()

    def _replicas(self) -> list[Asked]:
        """Those that are ready. Raises ControlPlaneAwayError if there is none."""
        try:
            pods = self._server.list(POD, labels=SELECTOR)
        except RefusedError as error:
            if error.status != 403:
                raise
            pods = self._server.list(POD, labels=SELECTOR, namespace=USUAL_NAMESPACE)
        ready = [live for live in pods if _serves(live)]
        if not ready:
            what = "no replica of the control plane is ready" if pods else "no control plane runs in this cluster"
            fix = "See smeagol check" if pods else "Install it: smeagol install"
            raise ControlPlaneAwayError(what, where=f"cluster {self.name}", fix=fix)
        return [
            Asked(
                live.metadata.name, PortForward(self._client, PodRef(live.ref.namespace, live.ref.name), CONTROL_PORT)
            )
            for live in ready
        ]

    def _ask_all(self, path: str, type_: type[T]) -> tuple[list[T], list[SmeagolError]]:
        """The answers of all that answer, and why others do not; raises ControlPlaneAwayError if none does.

        They are asked side by side, and read here: msgspec 0.22 crashes where several threads are the first to use a
        type.
        """

        def ask(replica: Asked) -> bytes | SmeagolError:
            try:
                return replica.ask("GET", path)
            except SmeagolError as error:
                return error

        replicas = self._replicas()
        answers: list[T] = []
        faults: list[SmeagolError] = []
        with ThreadPoolExecutor(len(replicas)) as threads:
            said = list(threads.map(ask, replicas))
        for replica, answer in zip(replicas, said, strict=True):
            if isinstance(answer, SmeagolError):
                faults.append(answer)
                continue
            try:
                answers.append(replica.decoded(answer, type_))
            except BadReplyError as error:
                faults.append(error)
        if not answers:
            first = faults[0]
            raise ControlPlaneAwayError(
                f"no replica of the control plane can be asked: {first.what}", where=first.where, fix=first.fix
            )
        return answers, faults

    def _holder(self, namespace: str, pod: str) -> Asked:
        """The replica that a Pod's proxy is connected to; any, if it is to none."""

        def holds(replica: Asked) -> bool:
            pods = replica.get("/v1/status", Status).pods
            found = (p.proxy for p in pods if (p.namespace, p.name) == (namespace, pod))
            return any(proxy is not None and proxy.connected for proxy in found)

        replicas = self._replicas()
        return next(filter(holds, replicas), replicas[0])

    def _without_replicas(self, away: ControlPlaneAwayError) -> Status:
        """The resolver says what stands behind each object; of the proxies nothing is known."""
        resolver = Resolver(Settings(controllers=frozenset({CONTROLLER_NAME})))
        objects: dict[ObjectRef, SmiObject] = {}
        self._fill(kinds.NAMESPACES, resolver.namespaces)
        self._fill(kinds.PODS, resolver.pods)
        self._fill(kinds.SERVICES, resolver.services)
        self._fill(kinds.ENDPOINT_SLICES, resolver.endpoint_slices)
        for found in (
            self._fill(kinds.PROVIDER_CLASSES, resolver.provider_classes),
            self._fill(kinds.MUTUAL_TLS, resolver.mutual_tls),
            self._fill(kinds.SIDECARS, resolver.sidecars),
            self._fill(kinds.CANARIES, resolver.canaries),
        ):
            objects |= {obj.ref: obj for obj in found}
        resolver.settle()
        status = cluster_status(resolver, objects, None, MeshInfo(name=self.name))
        problem = Problem(
            where=away.where,
            message=f"{away.what}; statuses are the last that were written, and proxies go on with what they have",
            code=away.code,
            fix=away.fix,
        )
        return msgspec.structs.replace(status, problems=(problem, *status.problems))

    def _fill(self, kind: Kind[D], source: Source[ObjectKey, D]) -> list[D]:
        """All objects of a kind, also into the resolver's source; one that cannot be read is left out."""
        found: dict[ObjectKey, D] = {}
        for item in self._server.items(kind.path):
            try:
                value = kind.decode(item)
            except ValueError:
                continue
            found[value.metadata.namespace, value.metadata.name] = value
        source.replace(found)
        return list(found.values())

    def _events(self) -> Iterator[Event]:
        """Those of the control plane, oldest first; none for who may not read them."""
        try:
            found = self._server.list(EVENT, fields=f"reportingComponent={REPORTER}")
        except RefusedError:
            return
        events = [live.as_(_Event) for live in found]
        for event in sorted(events, key=lambda event: event.last):
            regarding = event.involved_object
            yield Event(
                time=event.last,
                type=event.type,
                reason=event.reason,
                message=event.message,
                object=str(ObjectRef(regarding.kind, regarding.namespace, regarding.name)),
            )


class _Regarding(msgspec.Struct, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class _Series(msgspec.Struct, frozen=True, rename="camel"):
    last_observed_time: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Event."""

    type: str = "Normal"
    reason: str = ""
    message: str = ""
    event_time: str = ""
    last_timestamp: str = ""
    involved_object: _Regarding = _Regarding()
    series: _Series = _Series()

    @property
    def last(self) -> str:
        return self.series.last_observed_time or self.event_time or self.last_timestamp


def _serves(live: Live) -> bool:
    pod = live.as_(Pod)
    return pod.ready and not pod.metadata.deletion_timestamp
