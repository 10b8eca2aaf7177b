"""Whatever happened on the way, the intent follows from the objects that are there; and what always holds of it."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from intent.builders import (
    CONTROLLER,
    AnyObject,
    World,
    canary,
    endpoint,
    grant,
    mutual_tls,
    namespace,
    pod,
    port,
    provider_class,
    service,
    sidecar,
    slice_of,
    withhold,
)
from smeagol import api
from smeagol.intent import CanaryIntent, MutualTLSIntent, ServiceIntent, Unit, WorkloadIntent, key_of
from smeagol.names import overlap

NAMESPACES = st.sampled_from(["a", "b"])
AGES = st.integers(0, 2)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
LABELS = st.dictionaries(st.just("app"), st.sampled_from(["x", "y"]))
SERVICE_NAMES = st.sampled_from(["web", "web-v1", "web-v2"])
NAMES = st.lists(
    st.sampled_from(
        [
            "x.example.com",
            "*.example.com",
            "y.example.com",
            "db.a.svc.cluster.local",
            "db.b",
            "spiffe://cluster.local/ns/a/sa/default",
            "https://example.com/x",
        ]
    ),
    max_size=3,
    unique=True,
)
CLASSES = st.sampled_from(["", "", "", "ours", "other"])
PORTS = st.lists(
    st.builds(port, st.sampled_from([80, 90]), name=st.sampled_from(["http", "tcp", "x"])),
    min_size=1,
    max_size=2,
    unique_by=(lambda p: p.port, lambda p: p.name),
)
INJECT = st.sampled_from([{}, {}, {"smi-spec.io/inject": "enabled"}, {"smi-spec.io/inject": "disabled"}])

PODS = st.builds(
    pod,
    st.sampled_from(["p1", "p2", "p3"]),
    ADDRESSES | st.just(""),
    labels=st.builds(lambda a, b: {**a, **b}, LABELS, INJECT),
    namespace=NAMESPACES,
    proxy=st.booleans(),
    age=AGES,
    service_account=st.sampled_from(["", "cart"]),
    host_network=st.sampled_from([False, False, True]),
    phase=st.sampled_from(["Running", "Running", "Succeeded"]),
    terminating=st.booleans(),
    root_proxy_of=st.sampled_from(["", "", "", "c1"]),
)


@st.composite
def services(draw: st.DrawFn) -> AnyObject:
    return service(
        draw(SERVICE_NAMES),
        *draw(PORTS),
        namespace=draw(NAMESPACES),
        ip=draw(st.sampled_from(["10.96.0.1", "None", ""])),
        type=draw(st.sampled_from(["ClusterIP", "ClusterIP", "ExternalName"])),
        publish_not_ready=draw(st.booleans()),
    )


@st.composite
def slices(draw: st.DrawFn) -> AnyObject:
    endpoints = st.builds(endpoint, ADDRESSES, ready=st.booleans(), terminating=st.booleans(), serving=st.booleans())
    return slice_of(
        draw(SERVICE_NAMES),
        *draw(st.lists(endpoints, max_size=3)),
        ports=draw(st.dictionaries(st.sampled_from(["http", "tcp", "x"]), st.sampled_from([8080, 9090]), min_size=1)),
        namespace=draw(NAMESPACES),
        name=draw(st.sampled_from(["s1", "s2", "s3"])),
    )


@st.composite
def policies(draw: st.DrawFn) -> AnyObject:
    name, labels, space = draw(st.sampled_from(["m", "n"])), draw(LABELS), draw(NAMESPACES)
    age, provider = draw(AGES), draw(CLASSES)
    if draw(st.booleans()):
        given = draw(st.dictionaries(st.sampled_from(["team", "app"]), st.sampled_from(["1", "2"])))
        return sidecar(name, given, labels=labels, namespace=space, age=age, provider_class=provider)
    mode = draw(st.sampled_from(api.Mode))
    return mutual_tls(name, *draw(NAMES), labels=labels, mode=mode, namespace=space, age=age, provider_class=provider)


CANARIES = st.builds(
    canary,
    st.sampled_from(["c1", "c2"]),
    st.sampled_from(["web", "web.a", "web-v1", "web.a.svc.example.com"]),
    st.lists(st.tuples(SERVICE_NAMES, st.sampled_from(["0", "1", "500m"])), min_size=1, max_size=3),
    namespace=NAMESPACES,
    age=AGES,
    provider_class=CLASSES,
    root_proxies=st.sampled_from([0, 2]),
)
PROVIDER_CLASSES = st.builds(
    provider_class,
    st.sampled_from(["ours", "other"]),
    st.sampled_from([CONTROLLER, "example.com/other"]),
    default=st.booleans(),
    age=AGES,
    names=st.lists(
        st.builds(grant, st.sampled_from(["*", "*.example.com"]), st.just("a"))
        | st.builds(withhold, st.sampled_from(["*", "x.example.com"])),
        max_size=2,
    ),
)
SPACES = st.builds(
    lambda name, inject, chosen: namespace(
        name, **inject, **({"smi-spec.io/provider-class": chosen} if chosen else {})
    ),
    NAMESPACES,
    INJECT,
    CLASSES,
)
OBJECTS: st.SearchStrategy[AnyObject] = st.one_of(
    PODS, PODS, services(), services(), slices(), slices(), policies(), policies(), CANARIES, PROVIDER_CLASSES, SPACES
)
EDITS = st.lists(st.tuples(OBJECTS, st.sampled_from(["put", "put", "put", "remove"]), st.booleans()), max_size=40)


@settings(max_examples=100)
@given(EDITS)
def test_history_does_not_matter(edits: list[tuple[AnyObject, str, bool]]) -> None:
    """SMI-COMMON-03: any sequence of edits, settled whenever, ends in the units of a fresh start with what is left."""
    world = World()
    left: dict[tuple[type, str, str], AnyObject] = {}
    for given_object, action, settle in edits:
        key = (type(given_object), given_object.metadata.namespace, given_object.metadata.name)
        if action == "put":
            left[key] = given_object
            world.put(given_object)
        else:
            left.pop(key, None)
            world.remove(given_object)
        if settle:
            before = dict(world.resolver.units)
            told = world.resolver.settle().changed
            after = dict(world.resolver.units)
            differing = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
            assert differing <= set(told)
    world.settle()
    fresh = World(*left.values())
    assert dict(world.resolver.units) == dict(fresh.resolver.units)
    assert world.resolver.contradictions == fresh.resolver.contradictions


@settings(max_examples=100)
@given(st.lists(OBJECTS, max_size=40))
def test_order_does_not_matter(given_objects: list[AnyObject]) -> None:
    """SMI-COMMON-02: the order in which objects are created makes no difference."""
    last = {(type(o), o.metadata.namespace, o.metadata.name): o for o in given_objects}
    assert dict(World(*last.values()).resolver.units) == dict(World(*reversed(last.values())).resolver.units)


@settings(max_examples=150)
@given(st.lists(OBJECTS, max_size=40))
def test_what_always_holds(given_objects: list[AnyObject]) -> None:
    """What providers may rely on, whatever the objects are."""
    world = World(*given_objects)
    units = dict(world.resolver.units)
    for key, unit in units.items():
        assert key == key_of(unit)
        for check in CHECKS:
            check(unit)
    dialled = [
        (endpoint.address, endpoint.port)
        for unit in units.values()
        if isinstance(unit, ServiceIntent)
        for service_port in unit.ports
        for endpoint in service_port.dialled
    ]
    assert len(dialled) == len(set(dialled)), "an address means one port of one Service"
    addresses = [a for unit in units.values() if isinstance(unit, WorkloadIntent) for a in unit.addresses]
    assert len(addresses) == len(set(addresses)), "an address is one Pod's"
    granted = [(n, u.ref.namespace) for u in units.values() if isinstance(u, MutualTLSIntent) for n in u.client_names]
    for name, owner in granted:
        for other, whose in granted:
            assert owner == whose or not overlap(name, other), "a name is one namespace's"
    for unit in units.values():
        if isinstance(unit, WorkloadIntent):
            for name in unit.client_names[:-1]:
                assert (name, unit.pod.namespace) in granted, "no workload carries a name that was refused"


def splits_are_possible(unit: Unit) -> None:
    if isinstance(unit, ServiceIntent):
        for service_port in unit.ports:
            if service_port.split is not None:
                backends = service_port.split.backends
                assert any(b.weight_milli > 0 for b in backends)
                assert all(b.endpoints for b in backends)
                assert [b.service for b in backends] == sorted({b.service for b in backends})


def sequences_are_sorted(unit: Unit) -> None:
    match unit:
        case ServiceIntent():
            numbers = [p.number for p in unit.ports]
            assert numbers == sorted(set(numbers))
            for service_port in unit.ports:
                assert list(service_port.endpoints) == sorted(set(service_port.endpoints))
                assert set(service_port.dialled) <= set(service_port.endpoints)
        case WorkloadIntent():
            assert list(unit.client_names[:-1]) == sorted(set(unit.client_names[:-1]))
            assert list(unit.server_names) == sorted(set(unit.server_names))
            assert list(unit.inbound_ports) == sorted(unit.inbound_ports)
        case CanaryIntent():
            assert list(unit.wanted) == sorted(unit.wanted)
            assert list(unit.left_out) == sorted(unit.left_out)


def identities_are_complete(unit: Unit) -> None:
    if isinstance(unit, WorkloadIntent):
        assert unit.client_names[-1].startswith(f"spiffe://cluster.local/ns/{unit.pod.namespace}/sa/")
        assert unit.addresses
        assert bool(unit.server_names) == (unit.mode is not None)


CHECKS: tuple[Callable[[Unit], None], ...] = (splits_are_possible, sequences_are_sorted, identities_are_complete)
