"""A step is measured only once the mesh says that the change is true everywhere."""

from __future__ import annotations

from smeagol.control import (
    Condition,
    MeshInfo,
    ObjectStatus,
    Pod,
    ProxyStatus,
    Service,
    ServicePort,
    SmiObject,
    Status,
)
from smeagol.demo.awaited import Absent, Present, objects_in, present, unmet
from smeagol.refs import ObjectRef

MESH = MeshInfo(name="demo")
CANARY = ObjectRef("Canary", "default", "foobar")


def status(
    *, objects: tuple[SmiObject, ...] = (), pods: tuple[Pod, ...] = (), services: tuple[Service, ...] = ()
) -> Status:
    return Status(mesh=MESH, objects=objects, pods=pods, services=services)


def programmed(generation: int, *, observed: int | None = None, is_so: str = "True") -> SmiObject:
    condition = Condition(type="Programmed", status=is_so, reason="x", message="1 of 2 proxies")
    seen = generation if observed is None else observed
    return SmiObject(
        kind="Canary",
        namespace="default",
        name="foobar",
        generation=generation,
        status=ObjectStatus(observed_generation=seen, conditions=(condition,)),
    )


def pod(name: str, workload: str, *, ready: bool = True, synced: bool = True) -> Pod:
    return Pod(namespace="default", name=name, workload=workload, ready=ready, proxy=ProxyStatus(synced=synced))


class TestSmiObjects:
    def test_an_edit_waits_for_a_later_generation(self) -> None:
        """observedGeneration: conditions of the generation before say nothing about the edit."""
        before = status(objects=(programmed(1),))
        awaited = present((CANARY,), before)
        assert awaited == (Present(CANARY, 1),)
        assert unmet(awaited, before) == ("Canary foobar to be read",)
        assert unmet(awaited, status(objects=(programmed(2, observed=1),))) == ("Canary foobar to be programmed",)
        assert unmet(awaited, status(objects=(programmed(2, is_so="False"),))) == (
            "Canary foobar to be programmed (1 of 2 proxies)",
        )
        assert unmet(awaited, status(objects=(programmed(2),))) == ()

    def test_a_new_object_waits_for_any_generation(self) -> None:
        awaited = present((CANARY,), status())
        assert unmet(awaited, status()) == ("Canary foobar to be read",)
        assert unmet(awaited, status(objects=(programmed(1),))) == ()

    def test_a_deleted_object_must_be_gone(self) -> None:
        assert unmet((Absent(CANARY),), status(objects=(programmed(1),))) == ("Canary foobar to be gone",)
        assert unmet((Absent(CANARY),), status()) == ()


class TestWorkloads:
    V2 = ObjectRef("Deployment", "default", "foobar-v2")

    def test_a_deployment_waits_for_all_its_pods(self) -> None:
        awaited = (Present(self.V2),)
        assert unmet(awaited, status()) == ("Deployment foobar-v2 to be ready",)
        one = (pod("a", "foobar-v2"), pod("b", "foobar-v2", ready=False))
        assert unmet(awaited, status(pods=one)) == ("Deployment foobar-v2 to be ready",)
        assert unmet(awaited, status(pods=(pod("a", "foobar-v2"),))) == ()

    def test_a_deleted_deployment_takes_its_pods_along(self) -> None:
        assert unmet((Absent(self.V2),), status(pods=(pod("a", "foobar-v2"),))) == ("Deployment foobar-v2 to be gone",)
        assert unmet((Absent(self.V2),), status(pods=(pod("a", "foobar-v1"),))) == ()

    def test_a_service_waits_for_an_endpoint(self) -> None:
        ref = ObjectRef("Service", "default", "foobar")

        def with_endpoints(count: int) -> Status:
            found = Service(namespace="default", name="foobar", ports=(ServicePort(port=80, endpoints=count),))
            return status(services=(found,))

        assert unmet((Present(ref),), with_endpoints(0)) == ("Service foobar to have an endpoint",)
        assert unmet((Present(ref),), with_endpoints(1)) == ()
        assert unmet((Absent(ref),), with_endpoints(1)) == ("Service foobar to be gone",)

    def test_nothing_is_done_before_every_proxy_has_acknowledged(self) -> None:
        """Programmed is true only when the data plane has acknowledged; a deletion has no object left to say so."""
        lagging = status(pods=(pod("client", "client", synced=False),))
        assert unmet((Absent(CANARY),), lagging) == ("proxies of default/client to acknowledge",)


class TestObjectsIn:
    def test_lists_every_document_with_its_namespace(self) -> None:
        text = "kind: Service\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: b, namespace: other}\n---\n"
        assert objects_in(text, "default") == (ObjectRef("Service", "default", "a"), ObjectRef("Pod", "other", "b"))
