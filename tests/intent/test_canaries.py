"""How a Canary divides the traffic of its root (SMI-CAN)."""

from __future__ import annotations

import pytest

from intent.builders import (
    AnyObject,
    World,
    canary,
    condition,
    endpoint,
    pod,
    port,
    service,
    slice_of,
)
from smeagol.intent import Backend, ConditionType, Endpoint, Protocol
from smeagol.refs import ServiceRef


def version(name: str, address: str, *ports: int) -> tuple[AnyObject, ...]:
    """A backend with one ready Pod."""
    numbers = ports or (80,)
    return (
        service(name, *(port(n, f"p{n}") for n in numbers)),
        slice_of(name, address, ports={f"p{n}": n + 8000 for n in numbers}),
    )


def shop(*more: AnyObject) -> World:
    """Root `web` on port 80 with an endpoint of its own, and two versions."""
    return World(
        service("web", port(80, "http")),
        slice_of("web", "10.0.0.9", ports={"http": 8080}),
        *version("web-v1", "10.0.0.1"),
        *version("web-v2", "10.0.0.2"),
        *more,
    )


def refs(world: World, name: str = "roll") -> tuple[bool | None, str]:
    said = condition(world.canary(name), ConditionType.RESOLVED_REFS)
    return said.status, said.reason


class TestRoot:
    @pytest.mark.parametrize("root", ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop."])
    def test_forms(self, root: str) -> None:
        """SMI-CAN-01: the root is named as clients do, in full or short."""
        assert shop(canary("roll", root, {"web-v1": "1"})).weights("web") == {"web-v1": 1000}

    def test_other_domain(self) -> None:
        """SMI-CAN-01: a root outside of the cluster domain is invalid."""
        world = shop(canary("roll", "web.shop.svc.example.com", {"web-v1": "1"}))
        said = condition(world.canary("roll"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Invalid")
        assert "web.shop.svc.cluster.local" in said.message

    def test_other_namespace(self) -> None:
        """SMI-CAN-02: the root is in the Canary's namespace; another's traffic is not one's own to divide."""
        world = shop(canary("roll", "web.shop", {"web-v1": "1"}, namespace="pay"))
        unit = world.canary("roll", "pay")
        said = condition(unit, ConditionType.RESOLVED_REFS)
        assert (said.status, said.reason) == (False, "RefNotPermitted")
        assert unit.accepted
        assert world.find_service("web") is None

    def test_other_namespace_takes_nothing(self) -> None:
        """SMI-CAN-02: such a Canary, however old, holds no root against the namespace's own."""
        world = shop(
            canary("roll", "web.shop", {"web-v1": "1"}, namespace="pay", age=1),
            canary("roll", "web", {"web-v2": "1"}, age=2),
        )
        assert world.weights("web") == {"web-v2": 1000}
        assert world.canary("roll", "pay").accepted

    def test_missing(self) -> None:
        """SMI-CAN-03: a root that does not exist yet is told, and the Canary waits for it."""
        world = World(canary("roll", "web", {"web-v1": "1"}), *version("web-v1", "10.0.0.1"))
        assert refs(world) == (False, "BackendNotFound")
        assert world.canary("roll").accepted
        world.add(service("web", port(80, "http")))
        assert refs(world) == (True, "ResolvedRefs")
        assert world.weights("web") == {"web-v1": 1000}

    def test_without_selector_and_endpoints(self) -> None:
        """SMI-CAN-04: the root needs neither selector nor endpoints."""
        world = World(service("web"), *version("web-v1", "10.0.0.1"), canary("roll", "web", {"web-v1": "1"}))
        assert world.service_port("web").endpoints == ()
        assert world.weights("web") == {"web-v1": 1000}

    def test_external_name(self) -> None:
        """SMI-CAN-05: a root of type ExternalName can't be split."""
        world = World(service("web", type="ExternalName"), canary("roll", "web", {"web-v1": "1"}))
        said = condition(world.canary("roll"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Invalid")
        assert "ExternalName" in said.message
        assert world.find_service("web") is None

    def test_headless(self) -> None:
        """SMI-CAN-06: a headless root is split, at the addresses of its endpoints."""
        world = shop(service("web", port(80, "http"), ip="None"), canary("roll", "web", {"web-v1": "1"}))
        assert world.weights("web") == {"web-v1": 1000}
        assert world.service_port("web").dialled == (Endpoint("10.0.0.9", 8080),)


class TestWeights:
    def test_milliunits(self) -> None:
        """SMI-CAN-07: weights are quantities, and only their ratio counts."""
        world = shop(canary("roll", "web", {"web-v1": "1500m", "web-v2": "0.5"}))
        assert world.weights("web") == {"web-v1": 1500, "web-v2": 500}

    def test_zero_stays_listed(self) -> None:
        """SMI-CAN-08: a backend of weight zero stays, with its endpoints, and gets nothing."""
        world = shop(canary("roll", "web", {"web-v1": "1", "web-v2": "0m"}))
        assert world.weights("web") == {"web-v1": 1000, "web-v2": 0}

    def test_only_zeros_left(self) -> None:
        """SMI-CAN-12: where only backends of weight zero could answer, the root's own endpoints serve."""
        world = shop(canary("roll", "web", {"web-v1": "0", "web-v3": "1"}))
        assert world.weights("web") is None
        assert world.service_port("web").endpoints == (Endpoint("10.0.0.9", 8080),)

    def test_order(self) -> None:
        """SMI-CAN-07: the order in which backends are written makes no difference."""
        there = shop(canary("roll", "web", {"web-v1": "1", "web-v2": "2"}))
        back = shop(canary("roll", "web", {"web-v2": "2", "web-v1": "1"}))
        assert there.resolver.units == back.resolver.units

    @pytest.mark.parametrize(
        ("backends", "told"),
        [
            ([("web-v1", "0")], "no weight is above zero"),
            ([("web", "1")], "also the root"),
            ([("web-v1", "1"), ("web-v1", "2")], "listed twice"),
            ([], "no weight is above zero"),
        ],
    )
    def test_what_the_crd_refuses(self, backends: list[tuple[str, str]], told: str) -> None:
        """SMI-CAN-09: what admission refuses is Invalid where it got in all the same, and holds no root."""
        world = shop(canary("roll", "web", backends, age=1), canary("next", "web", {"web-v1": "1"}, age=2))
        said = condition(world.canary("roll"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Invalid")
        assert told in said.message
        assert world.canary("next").accepted


class TestBackends:
    def test_endpoints_of_the_backend(self) -> None:
        """SMI-CAN-10: each backend is answered by its own endpoints, at its own target port."""
        world = shop(canary("roll", "web", {"web-v1": "1"}))
        split = world.service_port("web").split
        assert split is not None
        assert split.backends == (
            Backend(service=ServiceRef("shop", "web-v1"), weight_milli=1000, endpoints=(Endpoint("10.0.0.1", 8080),)),
        )

    def test_missing(self) -> None:
        """SMI-CAN-11: a backend that does not exist is left out; the others keep their ratio, and status names it."""
        world = shop(canary("roll", "web", {"web-v1": "1", "web-v2": "2", "web-v3": "3"}))
        assert world.weights("web") == {"web-v1": 1000, "web-v2": 2000}
        assert refs(world) == (False, "BackendNotFound")
        (left,) = world.canary("roll").left_out
        assert (left.service.name, left.port, left.reason) == ("web-v3", 80, "BackendNotFound")
        assert "shop/web-v3" in condition(world.canary("roll"), ConditionType.RESOLVED_REFS).message

    def test_port_missing(self) -> None:
        """SMI-CAN-13: per root port, those backends take part that have the same port number."""
        world = World(
            service("web", port(80, "http"), port(90, "tcp-admin")),
            *version("web-v1", "10.0.0.1", 80, 90),
            *version("web-v2", "10.0.0.2", 80),
            canary("roll", "web", {"web-v1": "1", "web-v2": "1"}),
        )
        assert world.weights("web", 80) == {"web-v1": 1000, "web-v2": 1000}
        assert world.weights("web", 90) == {"web-v1": 1000}
        assert refs(world) == (False, "PortMismatch")
        assert world.canary("roll").ports == ((80, Protocol.HTTP), (90, Protocol.TCP))

    def test_not_ready(self) -> None:
        """SMI-CAN-11: a backend without a ready endpoint is left out; it resolves, and status says that it waits."""
        world = shop(canary("roll", "web", {"web-v1": "1", "web-v2": "2"}))
        world.add(slice_of("web-v2", endpoint("10.0.0.2", ready=False), ports={"p80": 8080}))
        assert world.weights("web") == {"web-v1": 1000}
        assert refs(world) == (True, "NoReadyEndpoints")
        assert "shop/web-v2" in condition(world.canary("roll"), ConditionType.RESOLVED_REFS).message

    def test_on_its_way_out(self) -> None:
        """SMI-CAN-11: endpoints on their way out are not ready: their share goes to the other backends."""
        world = shop(canary("roll", "web", {"web-v1": "1", "web-v2": "2"}))
        leaving = endpoint("10.0.0.2", ready=False, terminating=True, serving=True)
        world.add(slice_of("web-v2", leaving, ports={"p80": 8080}))
        assert world.weights("web") == {"web-v1": 1000}

    def test_none_left(self) -> None:
        """SMI-CAN-12: where no backend is left, the root's own endpoints serve."""
        world = shop(canary("roll", "web", {"web-v8": "1", "web-v9": "1"}))
        assert world.weights("web") is None
        assert world.service_port("web").endpoints == (Endpoint("10.0.0.9", 8080),)

    def test_another_canarys_root(self) -> None:
        """SMI-CAN-14: a backend that is another Canary's root is not followed: its own endpoints serve."""
        world = shop(canary("outer", "web", {"web-v1": "1"}), canary("inner", "web-v1", {"web-v2": "1"}))
        split = world.service_port("web").split
        assert split is not None
        assert split.backends[0].endpoints == (Endpoint("10.0.0.1", 8080),)
        assert world.weights("web-v1") == {"web-v2": 1000}

    def test_called_by_its_own_name(self) -> None:
        """SMI-CAN-15: a backend called by its own name is not split."""
        assert shop(canary("roll", "web", {"web-v1": "1", "web-v2": "1"})).weights("web-v1") is None

    def test_external_name(self) -> None:
        """SMI-CAN-11: a backend of type ExternalName has no endpoints, so it is left out like a missing one."""
        world = shop(service("web-v3", type="ExternalName"), canary("roll", "web", {"web-v1": "1", "web-v3": "1"}))
        assert world.weights("web") == {"web-v1": 1000}
        assert refs(world) == (False, "BackendNotFound")


class TestConflict:
    def test_oldest_wins(self) -> None:
        """SMI-CAN-16: of two Canaries of one root the oldest holds it; the other is Conflicted, and says by whom."""
        world = shop(
            canary("a-new", "web.shop", {"web-v2": "1"}, age=2),
            canary("z-old", "web", {"web-v1": "1"}, age=1),
        )
        assert world.weights("web") == {"web-v1": 1000}
        said = condition(world.canary("a-new"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Conflicted")
        assert "Canary shop/z-old" in said.message
        assert (world.canary("a-new").conditions, world.canary("a-new").ports) == ((said,), ())

    def test_same_age(self) -> None:
        """SMI-COMMON-04: of the same age, the first by name."""
        world = shop(canary("b", "web", {"web-v2": "1"}), canary("a", "web", {"web-v1": "1"}))
        assert world.weights("web") == {"web-v1": 1000}

    def test_winner_goes(self) -> None:
        """SMI-CAN-16: when the winner goes, the next one takes over."""
        old = canary("z-old", "web", {"web-v1": "1"}, age=1)
        world = shop(old, canary("a-new", "web", {"web-v2": "1"}, age=2))
        world.take(old)
        assert world.weights("web") == {"web-v2": 1000}
        assert world.canary("a-new").accepted

    def test_backends_of_the_loser(self) -> None:
        """SMI-SVC-01: what only a Conflicted Canary names is no business of the mesh."""
        world = shop(canary("z-old", "web", {"web-v1": "1"}, age=1), canary("a-new", "web", {"web-v2": "1"}, age=2))
        assert world.find_service("web-v2") is None


def test_deleting_ends_the_split() -> None:
    """SMI-CAN-17: with the Canary goes the split, and the Service is as it was."""
    given = canary("roll", "web", {"web-v1": "1"})
    world = shop(given)
    world.take(given)
    assert world.find_service("web") is None


def test_documented_rollout() -> None:
    """SMI-CAN-18: the documented rollout, step by step; the root's selector covers both versions all the while."""
    v1, v2 = pod("v1", "10.0.0.1"), pod("v2", "10.0.0.2")
    world = World(
        v1,
        service("foobar", port(80, "http")),
        *version("foobar-v1", "10.0.0.1"),
        slice_of("foobar", "10.0.0.1", ports={"http": 8080}),
    )
    world.add(canary("rollout", "foobar", {"foobar-v1": "1", "foobar-v2": "0m"}))
    assert world.weights("foobar") == {"foobar-v1": 1000}

    world.add(v2, *version("foobar-v2", "10.0.0.2"), slice_of("foobar", "10.0.0.1", "10.0.0.2", ports={"http": 8080}))
    assert world.weights("foobar") == {"foobar-v1": 1000, "foobar-v2": 0}
    assert world.weights("foobar-v2") is None

    world.add(canary("rollout", "foobar", {"foobar-v1": "1", "foobar-v2": "500m"}))
    assert world.weights("foobar") == {"foobar-v1": 1000, "foobar-v2": 500}

    world.add(canary("rollout", "foobar", {"foobar-v2": "1"}))
    assert world.weights("foobar") == {"foobar-v2": 1000}

    world.take(v1, *version("foobar-v1", "10.0.0.1"))
    world.add(slice_of("foobar", "10.0.0.2", ports={"http": 8080}))
    assert world.weights("foobar") == {"foobar-v2": 1000}

    world.take(canary("rollout", "foobar", {}))
    assert world.weights("foobar") is None
    assert world.service_port("foobar").endpoints == (Endpoint("10.0.0.2", 8080),)
