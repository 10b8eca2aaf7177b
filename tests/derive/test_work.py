"""The cost of a change is proportional to what it changes, and nothing is remembered of what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from smeagol.derive import Collection, Graph, Reader, Source


@dataclass(frozen=True, slots=True)
class Pod:
    app: str
    ip: str
    note: str = ""


@dataclass
class Mesh:
    """Services find the Pods of their app; a policy, and who is trusted, hang on the endpoints."""

    graph: Graph = field(default_factory=Graph)

    def __post_init__(self) -> None:
        graph = self.graph
        self.pods: Source[str, Pod] = graph.source("pods")
        self.services: Source[str, str] = graph.source("services")
        self.settings: Source[str, str] = graph.source("settings")
        self.by_app = graph.group("pods by app", self.pods, lambda _key, pod: (pod.app,))
        self.policy = graph.value("policy", lambda read: (read.get(self.settings, "mode") or "permissive").lower())
        self.endpoints = graph.map("endpoints", self.services, self._endpoints_of)
        self.sizes = graph.map("sizes", self.endpoints, lambda _key, ips, _read: len(ips))
        self.clusters = graph.map(
            "clusters", self.endpoints, lambda _key, ips, read: (read.get(self.policy, None), ips)
        )
        self.owners = graph.flatten("owners", self.endpoints, lambda key, ips, _read: dict.fromkeys(ips, key))
        self.names = graph.join("names", self.services, self.owners)

    def _endpoints_of(self, _key: str, app: str, read: Reader) -> tuple[str, ...]:
        pods = (read.get(self.pods, key) for key in read.get(self.by_app, app) or ())
        return tuple(pod.ip for pod in pods if pod is not None)

    def fill(self, services: int, pods_each: int) -> None:
        for number in range(services):
            self.services.set(f"service-{number}", f"app-{number}")
            for pod in range(pods_each):
                self.pods.set(f"pod-{number}-{pod}", Pod(f"app-{number}", f"ip-{number}-{pod}"))
        self.graph.settle()

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """How many computations the body's edits cost, by collection; those with none are left out."""
        before = {each: each.recomputed for each in self.graph.collections}
        counts: dict[str, int] = {}
        yield counts
        self.graph.settle()
        counts.update({each.name: each.recomputed - n for each, n in before.items() if each.recomputed != n})


def test_one_changed_endpoint_touches_one_service_among_ten_thousand() -> None:
    mesh = Mesh()
    mesh.fill(services=10_000, pods_each=1)
    with mesh.counting() as counts:
        mesh.pods.set("pod-77-0", Pod("app-77", "elsewhere"))
    assert counts == {"pods by app": 1, "endpoints": 1, "sizes": 1, "clusters": 1, "owners": 1}
    assert mesh.endpoints.get("service-77") == ("elsewhere",)


def test_an_equal_result_stops_there() -> None:
    """The Pod's note is no part of its Service's endpoints, and the number of endpoints no part of their addresses."""
    mesh = Mesh()
    mesh.fill(services=3, pods_each=2)
    with mesh.counting() as counts:
        mesh.pods.set("pod-1-0", Pod("app-1", "ip-1-0", note="changed"))
    assert counts == {"pods by app": 1, "endpoints": 1}
    with mesh.counting() as counts:
        mesh.settings.set("mode", "PERMISSIVE")
    assert counts == {"policy": 1}


def test_unrelated_edits_and_empty_settles_compute_nothing() -> None:
    mesh = Mesh()
    mesh.fill(services=3, pods_each=2)
    with mesh.counting() as counts:
        mesh.settings.set("unrelated", "1")
        mesh.pods.set("pod-1-0", Pod("app-1", "ip-1-0"))
    assert counts == {}


def test_what_everybody_reads_reaches_everybody() -> None:
    mesh = Mesh()
    mesh.fill(services=3, pods_each=2)
    with mesh.counting() as counts:
        mesh.settings.set("mode", "strict")
    assert counts == {"policy": 1, "clusters": 3}


def test_many_edits_before_one_settle_compute_a_key_once() -> None:
    """Each key at most once a settle, on a diamond too: `clusters` sees endpoints and policy change together."""
    mesh = Mesh()
    mesh.fill(services=1, pods_each=3)
    with mesh.counting() as counts:
        for pod in range(3):
            for turn in range(5):
                mesh.pods.set(f"pod-0-{pod}", Pod("app-0", f"turn-{turn}"))
        mesh.settings.set("mode", "strict")
    assert counts == {"pods by app": 3, "policy": 1, "endpoints": 1, "sizes": 1, "clusters": 1, "owners": 1}
    assert mesh.clusters.get("service-0") == ("strict", ("turn-4",) * 3)


def test_absence_is_a_dependency() -> None:
    """A Service without Pods is computed again when the first one comes, and only that Service."""
    mesh = Mesh()
    mesh.fill(services=3, pods_each=0)
    with mesh.counting() as counts:
        mesh.pods.set("late", Pod("app-2", "10.0.0.9"))
    assert counts == {"pods by app": 1, "endpoints": 1, "sizes": 1, "clusters": 1, "owners": 1}
    assert mesh.endpoints.get("service-2") == ("10.0.0.9",)


def test_reading_keys_depends_on_the_key_set_only_and_items_on_everything() -> None:
    graph = Graph()
    source: Source[str, int] = graph.source("numbers")
    keys: Collection[None, tuple[str, ...]] = graph.value("keys", lambda read: read.keys(source))
    items = graph.value("items", lambda read: read.items(source))

    def runs() -> tuple[int, int]:
        graph.settle()
        return keys.recomputed, items.recomputed

    source.set("a", 1)
    assert runs() == (1, 1)
    source.set("a", 2)
    assert runs() == (1, 2)
    source.set("b", 1)
    assert runs() == (2, 3)
    source.delete("a")
    assert runs() == (3, 4)
    assert runs() == (3, 4)


def test_a_dependency_lasts_until_the_next_computation_only() -> None:
    """What a function read once and no longer reads does not make it run again."""
    graph = Graph()
    pointers: Source[str, str] = graph.source("pointers")
    targets: Source[str, int] = graph.source("targets")
    followed = graph.map("followed", pointers, lambda _key, target, read: read.get(targets, target))
    pointers.set("p", "old")
    graph.settle()
    pointers.set("p", "new")
    graph.settle()
    runs = followed.recomputed
    targets.set("old", 1)
    graph.settle()
    assert followed.recomputed == runs
    targets.set("new", 2)
    graph.settle()
    assert followed.recomputed == runs + 1
    assert followed.get("p") == 2


def test_nothing_is_remembered_of_removed_keys() -> None:
    """Objects come and go for months: what the graph keeps is bounded by what exists."""
    mesh = Mesh()
    mesh.graph.settle()
    empty = _held(mesh)
    for _ in range(3):
        mesh.fill(services=20, pods_each=2)
        assert _held(mesh) > empty
        for source in (mesh.pods, mesh.services, mesh.settings):
            source.replace({})
        mesh.graph.settle()
    assert len(mesh.graph._reads) == 1  # the policy's, of a setting that does not exist
    assert _held(mesh) == empty


def _held(mesh: Mesh) -> int:
    """Entries in all dictionaries and sets behind the graph: found by walking, so a forgotten one is found too."""
    seen: set[int] = set()
    total = 0
    rest: list[object] = [mesh.graph]
    while rest:
        thing = rest.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            total += len(thing)
            rest += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (set, frozenset, list, tuple)):
            total += len(thing) if isinstance(thing, set) else 0
            rest += [*thing]
        elif type(thing).__module__.startswith("smeagol.derive"):
            rest += [getattr(thing, name) for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
            rest += [vars(thing)] if hasattr(thing, "__dict__") else []
    return total
