"""What a change of units changes for the proxies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.errors import SmeagolError
from smeagol.intent import CanaryIntent, MeshIntent, Unit
from smeagol.plan import CertificateRequest, Feature, Plan, ProxyResource, Purpose
from smeagol.providers.recorder import provider as recorder
from smeagol.refs import NodeId, ObjectRef, ServiceRef, SubjectName
from smeagol.runtime.planner import Planner, ResourceKey


@dataclass
class Scripted:
    """A provider that plans what a table says; a unit is only a name here (its trust domain)."""

    table: dict[str, Plan | Exception] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    name: str = "scripted"
    controller_name: str = "example.dev/scripted"
    features: frozenset[Feature] = frozenset()

    def plan(self, unit: Unit) -> Plan:
        assert isinstance(unit, MeshIntent)
        self.planned.append(unit.trust_domain)
        answer = self.table[unit.trust_domain]
        if isinstance(answer, Exception):
            raise answer
        return answer


def unit(name: str) -> MeshIntent:
    return MeshIntent(cluster_domain="", trust_domain=name)


def resource(name: str, body: bytes = b"1", node: str | None = None) -> ProxyResource:
    return ProxyResource(type_url="t", name=name, body=body, node=NodeId(node) if node else None)


def test_only_changed_units_are_planned() -> None:
    """Work is proportional to what changed."""
    provider = Scripted({"a": Plan(), "b": Plan()})
    planner: Planner[str] = Planner(provider)
    units = {"a": unit("a"), "b": unit("b")}
    planner.update(["a", "b"], units)
    planner.update(["b"], units)
    assert provider.planned == ["a", "b", "b"]


def test_equal_bytes_are_not_sent_again() -> None:
    provider = Scripted({"a": Plan(resources=(resource("x"),))})
    planner: Planner[str] = Planner(provider)
    assert planner.update(["a"], {"a": unit("a")}).upserts == (resource("x"),)
    assert not planner.update(["a"], {"a": unit("a")})


@pytest.mark.parametrize("fault", [SmeagolError("broken"), KeyError("a fault of ours")])
def test_a_failing_unit_keeps_its_last_good_plan(fault: Exception) -> None:
    """A fault in one object never stops traffic that works, nor the other objects."""
    provider = Scripted({"a": Plan(resources=(resource("x"),)), "b": Plan(resources=(resource("y"),))})
    planner: Planner[str] = Planner(provider)
    planner.update(["a"], {"a": unit("a")})
    provider.table["a"] = fault
    delta = planner.update(["a", "b"], {"a": unit("a"), "b": unit("b")})
    assert delta.upserts == (resource("y"),)
    assert delta.removals == ()
    assert set(planner.failures) == {"a"}


def test_a_shared_claim_passes_on() -> None:
    """Two units may claim one resource; the smallest holds it and the next takes over."""
    provider = Scripted({"a": Plan(resources=(resource("x", b"a"),)), "b": Plan(resources=(resource("x", b"b"),))})
    planner: Planner[str] = Planner(provider)
    assert planner.update(["b", "a"], {"a": unit("a"), "b": unit("b")}).upserts == (resource("x", b"a"),)
    assert planner.update(["a"], {"b": unit("b")}).upserts == (resource("x", b"b"),)
    assert planner.update(["b"], {}).removals == (ResourceKey(None, "t", "x"),)


def test_certificates_follow_their_units() -> None:
    """Changed names mean a new certificate; a unit that goes away needs none."""
    first = CertificateRequest(NodeId("n"), "client", Purpose.CLIENT, (SubjectName("foo"),))
    second = CertificateRequest(NodeId("n"), "client", Purpose.CLIENT, (SubjectName("bar"),))
    provider = Scripted({"a": Plan(certificates=(first,))})
    planner: Planner[str] = Planner(provider)
    assert planner.update(["a"], {"a": unit("a")}).wanted == (first,)
    provider.table["a"] = Plan(certificates=(second,))
    delta = planner.update(["a"], {"a": unit("a")})
    assert (delta.wanted, delta.unwanted) == ((second,), (first,))
    assert planner.update(["a"], {}).unwanted == (second,)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.none() | st.frozensets(st.tuples(st.sampled_from("xyz"), st.binary(max_size=1)))
        ),
        max_size=20,
    )
)
def test_any_history_ends_in_the_same_state(history: list[tuple[str, frozenset[tuple[str, bytes]] | None]]) -> None:
    """Level-based: what the proxies hold depends on the units now, not on the events that led there."""
    provider = Scripted()
    planner: Planner[str] = Planner(provider)
    units: dict[str, Unit] = {}
    held: dict[ResourceKey, bytes] = {}
    for key, content in history:
        if content is None:
            units.pop(key, None)
        else:
            by_name = dict(sorted(content))
            provider.table[key] = Plan(resources=tuple(resource(n, b) for n, b in by_name.items()))
            units[key] = unit(key)
        delta = planner.update([key], units)
        held |= {ResourceKey(r.node, r.type_url, r.name): r.body for r in delta.upserts}
        for gone in delta.removals:
            del held[gone]
    fresh: Planner[str] = Planner(provider)
    expected = {ResourceKey(r.node, r.type_url, r.name): r.body for r in fresh.update(list(units), units).upserts}
    assert held == expected


def test_what_takes_more_than_a_plan_is_told_of_providers_that_do_not_claim_it() -> None:
    """SMI-CAN-22, SMI-STATUS-07: root proxies that a Canary asks for, and nothing where it does not."""
    asking = CanaryIntent(
        ref=ObjectRef("Canary", "shop", "roll"),
        generation=1,
        root=ServiceRef("shop", "web"),
        wanted=(),
        ports=(),
        left_out=(),
        conditions=(),
        root_proxies=2,
    )
    for claimed, asked, told in ((False, 2, ["spec.rootProxy"]), (False, 0, []), (True, 2, [])):
        features = frozenset({Feature.CANARY_ROOT_PROXY} if claimed else ())
        planner: Planner[str] = Planner(replace(recorder, features=features))
        planner.update(["roll"], {"roll": replace(asking, root_proxies=asked)})
        assert [unsupported.field for unsupported in planner.plans["roll"].unsupported] == told
