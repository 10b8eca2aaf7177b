"""What an adapter does about what is there. The API server is here a table; the real one is in tests/e2e."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intent.builders import EPOCH, canary, put, remove, service, slice_of
from smeagol.api import Canary
from smeagol.infra.kubernetes.objects import Applied
from smeagol.intent import CanaryIntent, Settings, Unit, UnitKey, UnitKind
from smeagol.objects import Metadata
from smeagol.plan import JSON
from smeagol.plan.making import MADE_FOR_ANNOTATION
from smeagol.plan.peer import Answer, Conflict, JSONObject, Peer, Surroundings, at
from smeagol.providers.gateway_api import GatewayAPI, provider
from smeagol.refs import ObjectRef
from smeagol.runtime.applying import REFUSED_SECONDS, Adapter, Apply, Delete, ObjectId, Step
from smeagol.sources.kubernetes.peers import PeerObject
from smeagol.status import PeerReport

ALL = b'{"f:metadata":{},"f:spec":{}}'
"""The fields of an object that are as they were applied."""
WEB = canary("web", "web", {"web-v1": "1", "web-v2": "1"}, age=100)
ROUTE = ObjectId("gateway.networking.k8s.io", "HTTPRoute", "shop", "smi-web-80")
SETTINGS = Settings(controllers=frozenset({provider.controller_name}), serve_unclassed=True)


def foreign(name: str, root: str, *, age: int, labels: Mapping[str, str] | None = None) -> PeerObject:
    """A route that somebody else has made."""
    parent: JSON = {"group": "", "kind": "Service", "name": root, "port": 80}
    created = f"{EPOCH + timedelta(seconds=age):%Y-%m-%dT%H:%M:%SZ}"
    body: JSONObject = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": created,
            "labels": dict(labels or {}),
        },
        "spec": {"parentRefs": [parent]},
    }
    metadata = Metadata(name=name, namespace="shop", uid=f"theirs-{name}", generation=1, creation_timestamp=created)
    return PeerObject(metadata, body, {"kubectl": b"{}"})


@dataclass
class World:
    """An adapter, the users' objects, and what there is of the peer's."""

    adapter: Adapter = field(default_factory=lambda: Adapter(provider, SETTINGS))
    users: dict[ObjectRef, Canary] = field(default_factory=dict)
    there: dict[ObjectId, PeerObject] = field(default_factory=dict)
    serial: int = 0

    def __post_init__(self) -> None:
        self.adapter.fit(provider.peer)
        for name in ("web", "web-v1", "web-v2"):
            put(self.adapter.resolver, service(name))
            put(self.adapter.resolver, slice_of(name, "10.0.0.1"))

    def put(self, user: Canary) -> None:
        self.users[user.ref] = user
        put(self.adapter.resolver, user)

    def take(self, user: Canary) -> None:
        if self.users.pop(user.ref, None) is not None:
            remove(self.adapter.resolver, user)

    def steps(self, seconds: float = 0) -> tuple[Step, ...]:
        as_of = dict.fromkeys(provider.kinds, str(self.serial))
        self.adapter.settle(self.users, self.there, {}, as_of=as_of)
        return self.adapter.steps(EPOCH + timedelta(seconds=seconds))

    def carry_out(self) -> None:
        """Do all that is to be done, as the API server would; there must be an end to it."""
        for _ in range(3):
            steps = self.steps()
            if not steps:
                return
            for step in steps:
                if isinstance(step, Apply):
                    self._apply(step)
                else:
                    assert self.there.pop(step.id).metadata.uid == step.uid
        raise AssertionError(self.steps())

    def _apply(self, step: Apply) -> None:
        before = self.there.get(step.id)
        assert (before.metadata.uid if before else "") == step.uid
        self.serial += 1
        uid = step.uid or f"ours-{self.serial}"
        notes = {MADE_FOR_ANNOTATION: str(at(step.body, "metadata", "annotations", MADE_FOR_ANNOTATION))}
        metadata = Metadata(
            name=step.id.name,
            namespace=step.id.namespace,
            uid=uid,
            generation=self.serial,
            resource_version=str(self.serial),
            annotations=notes,
        )
        self.there[step.id] = PeerObject(metadata, step.body, {self.adapter.field_manager: ALL})
        self.adapter.applied(step, Applied(uid, self.serial, str(self.serial), ALL))

    @property
    def report(self) -> PeerReport:
        report = self.adapter.report(UnitKey(UnitKind.CANARY, "shop", "web")).peer
        assert report is not None
        return report


@given(
    st.lists(
        st.sampled_from(
            [
                "canary",
                "no canary",
                "weights",
                "older",
                "younger",
                "no foreign",
                "our name",
                "deleted",
                "edited",
                "marked",
                "anew",
            ]
        ),
        max_size=12,
    )
)
def test_any_history_ends_the_same(happenings: list[str]) -> None:
    """SMI-COMMON-03: what is made follows from what is there; SMI-STATUS-12: what others have made never changes."""
    world = World()
    theirs: dict[ObjectId, PeerObject] = {}
    for happening in happenings:
        match happening:
            case "canary":
                world.put(WEB)
            case "weights":
                world.put(canary("web", "web", {"web-v1": "2", "web-v2": "1"}, age=100))
            case "no canary":
                world.take(WEB)
            case "older" | "younger":
                found = foreign("theirs", "web", age=1 if happening == "older" else 200)
                theirs[ObjectId.of(found.body)] = found
            case "our name":  # a copy of ours, with its labels, for another Service
                if ROUTE not in world.there:
                    theirs[ROUTE] = foreign(ROUTE.name, "cart", age=200, labels={"smi-spec.io/made-by": "gateway-api"})
            case "no foreign":
                for gone in theirs:
                    world.there.pop(gone)
                theirs.clear()
            case "deleted":
                if ROUTE not in theirs:
                    world.there.pop(ROUTE, None)
            case "edited":
                if ROUTE in world.there and ROUTE not in theirs:
                    found = world.there[ROUTE]
                    world.serial += 1
                    metadata = Metadata(
                        name=ROUTE.name, namespace="shop", uid=found.metadata.uid, generation=world.serial
                    )
                    world.there[ROUTE] = replace(found, metadata=metadata)
            case "marked":  # somebody changes one of its labels, which is no other generation
                if ROUTE in world.there and ROUTE not in theirs:
                    found = world.there[ROUTE]
                    world.serial += 1
                    metadata = msgspec.structs.replace(found.metadata, resource_version=str(world.serial))
                    left = {world.adapter.field_manager: b'{"f:spec":{}}'}
                    world.there[ROUTE] = replace(found, metadata=metadata, appliers=left)
            case "anew":  # another replica leads, which knows nothing of what was done
                world.adapter = Adapter(provider, SETTINGS)
                world.__post_init__()
                for user in world.users.values():
                    put(world.adapter.resolver, user)
        world.there |= theirs
        world.carry_out()
        assert {id_: world.there[id_] for id_ in theirs} == theirs
        older = any(found.metadata.creation_timestamp < "2026-01-01T00:01" for found in theirs.values())
        wanted = {ROUTE} if world.users and not older and ROUTE not in theirs else set()
        assert world.there.keys() - theirs.keys() == wanted
        assert all(world.there[id_].appliers == {world.adapter.field_manager: ALL} for id_ in wanted)


def test_what_is_deleted_before_anybody_saw_it_is_made_again() -> None:
    """And what a watch has not reached is waited for: applied once more, it would be taken for somebody else's."""
    world = World(serial=6)
    world.put(WEB)
    (step,) = world.steps()
    assert isinstance(step, Apply)
    world.adapter.applied(step, Applied("ours", 1, "10"))
    assert world.steps() == ()
    world.serial = 11
    assert world.steps() == (step,)


def test_what_is_older_than_our_own_change_is_nobodys_doing() -> None:
    """The watch is behind: what it shows still has the fields of the last time."""
    world = World()
    world.put(WEB)
    world.carry_out()
    world.put(canary("web", "web", {"web-v1": "2", "web-v2": "1"}, age=100))
    (step,) = world.steps()
    assert isinstance(step, Apply)
    uid = world.there[ROUTE].metadata.uid
    world.adapter.applied(step, Applied(uid, 2, "2", b"{}"))
    assert world.steps() == ()


def test_what_is_refused_is_told_and_tried_again_later() -> None:
    """SMI-STATUS-06; an admission webhook may think otherwise by then."""
    world = World()
    world.put(WEB)
    (step,) = world.steps()
    assert isinstance(step, Apply)
    world.adapter.refused(step, "no", EPOCH)
    assert world.steps(REFUSED_SECONDS - 1) == ()
    assert [made.refused for made in world.report.made] == ["no"]
    assert world.steps(REFUSED_SECONDS) == (step,)


def test_a_younger_route_is_named_and_does_not_win() -> None:
    """SMI-COMMON-04."""
    world = World()
    world.put(WEB)
    world.there = {ObjectId.of(found.body): found for found in [foreign("theirs", "web", age=200)]}
    world.carry_out()
    assert world.report.conflict == ""
    assert "HTTPRoute shop/theirs is younger" in world.report.contested


def test_without_its_peer_nothing_is_done() -> None:
    """What was made before stays: a CRD that is being replaced is no reason to end every split."""
    world = World()
    world.put(WEB)
    world.carry_out()
    world.adapter.fit(replace(provider.peer, served=frozenset(), problem="it is gone"))
    assert world.steps() == ()


def test_what_cannot_be_read_is_not_taken_for_gone() -> None:
    """Of a user's object, nor of the class it is of: at the start of a process there is no last good value."""
    world = World()
    world.put(WEB)
    world.carry_out()
    world.take(WEB)
    for unread in (WEB.ref, ObjectRef("ProviderClass", "", "gateway-api")):
        world.adapter.settle(world.users, world.there, {}, frozenset({unread}))
        assert world.adapter.steps(EPOCH) == ()
    assert [type(step) for step in world.steps()] == [Delete]


@dataclass(frozen=True, slots=True)
class Faulty(GatewayAPI):
    """An adapter with a fault that one object brings out: the Canary of the Service `cart`."""

    fault: Literal["conflicts", "answer", ""] = ""

    def fitted(self, peer: Peer) -> Faulty:
        return replace(self, peer=peer)

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        if self.fault == "conflicts" and isinstance(unit, CanaryIntent) and unit.ref.name == "cart":
            raise KeyError("cart")
        return GatewayAPI.conflicts(self, unit, around)

    def answer(self, made: JSONObject) -> Answer:
        if self.fault == "answer" and "cart" in str(at(made, "metadata", "name")):
            raise KeyError("status")
        return GatewayAPI.answer(self, made)


@pytest.mark.parametrize("fault", ["conflicts", "answer"])
def test_a_fault_in_one_object_does_not_stop_the_others(fault: Literal["conflicts", "answer"]) -> None:
    """What was in force for it stays so, and its status tells."""
    world = World()
    for name in ("cart", "cart-v1"):
        put(world.adapter.resolver, service(name))
        put(world.adapter.resolver, slice_of(name, "10.0.0.2"))
    world.put(WEB)
    world.put(canary("cart", "cart", {"cart-v1": "1"}, age=100))
    world.carry_out()
    world.adapter.provider = Faulty(fault=fault)
    world.put(canary("web", "web", {"web-v1": "2", "web-v2": "1"}, age=100))
    (step,) = world.steps()
    assert isinstance(step, Apply)
    assert step.id == ROUTE
    world.carry_out()
    assert "the provider 'gateway-api' has a fault: KeyError" in (
        world.adapter.report(UnitKey(UnitKind.CANARY, "shop", "cart")).unplanned
    )
    assert world.adapter.report(UnitKey(UnitKind.CANARY, "shop", "web")).unplanned == ""
