"""A change costs what it changes: counted in functions run and units touched, not in seconds."""

from __future__ import annotations

from intent.builders import World, canary, endpoint, mutual_tls, pod, port, service, sidecar, slice_of

SERVICES = 30


def large_shop() -> World:
    """Thirty Services in each of two namespaces, with two meshed Pods each, and a Canary of the first."""
    world = World()
    for namespace in ("shop", "pay"):
        for i in range(SERVICES):
            first, second = f"10.{namespace == 'pay':d}.{i}.1", f"10.{namespace == 'pay':d}.{i}.2"
            world.put(pod(f"p{i}-1", first, namespace=namespace, labels={"app": f"s{i}"}))
            world.put(pod(f"p{i}-2", second, namespace=namespace, labels={"app": f"s{i}"}))
            world.put(service(f"s{i}", port(80, "http"), namespace=namespace, ip=f"10.96.{i}.1"))
            world.put(slice_of(f"s{i}", first, second, ports={"http": 8080}, namespace=namespace))
        world.put(mutual_tls("all", namespace=namespace))
    world.put(sidecar("s3", labels={"app": "s3"}))
    world.put(canary("roll", "s0", {"s1": "1", "s2": "1"}))
    world.settle()
    return world


def work_of(world: World) -> int:
    return sum(collection.recomputed for collection in world.resolver.graph.collections)


def test_nothing_changed() -> None:
    """Setting what is there already runs nothing and changes no unit."""
    world = large_shop()
    before = work_of(world)
    assert (
        world.add(pod("p5-1", "10.0.5.1", labels={"app": "s5"}), service("s5", port(80, "http"), ip="10.96.5.1"))
        == set()
    )
    assert work_of(world) == before


def test_endpoint_slice_of_a_plain_service() -> None:
    """A changed EndpointSlice touches its Service, and the certificate of the Pod that left; nothing else."""
    world = large_shop()
    before = work_of(world)
    changed = world.add(slice_of("s9", "10.0.9.1", ports={"http": 8080}))
    assert changed == {("Service", "s9"), ("Workload", "p9-2")}
    assert work_of(world) - before < 20


def test_readiness() -> None:
    """An endpoint that is not ready leaves its Service; its Pod's identity is as it was."""
    world = large_shop()
    unready = slice_of("s9", "10.0.9.1", endpoint("10.0.9.2", ready=False), ports={"http": 8080})
    assert world.add(unready) == {("Service", "s9")}


def test_endpoint_slice_of_a_backend() -> None:
    """That of a Canary's backend touches the root as well, and the Canary only if a backend falls out."""
    world = large_shop()
    unready = slice_of("s1", "10.0.1.1", endpoint("10.0.1.2", ready=False), ports={"http": 8080})
    assert world.add(unready) == {("Service", "s1"), ("Service", "s0")}
    gone = slice_of("s1", endpoint("10.0.1.1", ready=False), endpoint("10.0.1.2", ready=False), ports={"http": 8080})
    assert world.add(gone) == {("Service", "s1"), ("Service", "s0"), ("Canary", "roll")}


def test_weight() -> None:
    """A changed weight touches the root and the Canary."""
    world = large_shop()
    before = work_of(world)
    assert world.add(canary("roll", "s0", {"s1": "1", "s2": "2"})) == {("Service", "s0"), ("Canary", "roll")}
    assert work_of(world) - before < 20


def test_pod_status() -> None:
    """What a Pod's status says beyond its addresses and its end touches nothing."""
    world = large_shop()
    before = work_of(world)
    assert world.add(pod("p5-1", "10.0.5.1", labels={"app": "s5"}, phase="Pending")) == set()
    assert work_of(world) - before == 1


def test_pod_label() -> None:
    """A changed label is matched against the selectors of its own namespace alone."""
    world = large_shop()
    before = work_of(world)
    changed = world.add(pod("p5-1", "10.0.5.1", labels={"app": "s3"}))
    assert changed == {("Workload", "p5-1"), ("Sidecar", "s3")}
    assert work_of(world) - before < 20


def test_new_selector() -> None:
    """A new MutualTLS or Sidecar is tried on the Pods that have a label it asks for."""
    world = large_shop()
    before = work_of(world)
    changed = world.add(sidecar("new", labels={"app": "s7"}))
    assert changed == {("Sidecar", "new"), ("Workload", "p7-1"), ("Workload", "p7-2")}
    assert work_of(world) - before < 20


def test_client_name() -> None:
    """A name that a MutualTLS adds concerns the Pods that it selects, and no Service."""
    world = large_shop()
    world.add(mutual_tls("m", labels={"app": "s3"}))
    before = work_of(world)
    changed = world.add(mutual_tls("m", "x.example.com", labels={"app": "s3"}))
    assert changed == {("MutualTLS", "m"), ("Workload", "p3-1"), ("Workload", "p3-2")}
    assert work_of(world) - before < 20


def test_work_does_not_grow() -> None:
    """One changed EndpointSlice costs the same in a shop ten times as large."""

    def cost(services: int) -> int:
        world = World(mutual_tls("all"))
        for i in range(services):
            world.put(pod(f"p{i}", f"10.0.{i}.1"))
            world.put(service(f"s{i}", ip=f"10.96.{i}.1"))
            world.put(slice_of(f"s{i}", f"10.0.{i}.1"))
        world.settle()
        before = work_of(world)
        world.add(slice_of("s1", endpoint("10.0.1.1", ready=False)))
        return work_of(world) - before

    assert cost(3) == cost(200)
