"""What a replica says of its proxies follows what happens, and is what it would say if it looked at everything anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from intent.builders import (
    STANDALONE,
    AnyObject,
    canary,
    mutual_tls,
    pod,
    put,
    remove,
    service,
    sidecar,
    slice_of,
)
from smeagol.intent import MeshIntent, Resolver, UnitKey
from smeagol.pki import LocalAuthority, MemoryKeyStore
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.tls import CLIENT, ROOTS, SERVER
from smeagol.refs import NodeId, ObjectRef
from smeagol.runtime.control_plane import ControlPlane, now
from smeagol.runtime.mesh import Mesh
from smeagol.runtime.own_view import OwnView
from smeagol.xds import TlsConfig
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds_kit.model import DeltaProxy

NODES = (NodeId("shop/web"), NodeId("shop/other"), NodeId("shop/badly"))
"""The proxies of `xds_kit.model` refuse what has `bad` in it, as all has that belongs to the last."""

OBJECTS: tuple[AnyObject, ...] = (
    pod("web", "10.0.0.1", labels={"app": "web"}),
    pod("web", "10.0.0.1", labels={"app": "web", "version": "2"}),
    pod("other", "10.0.0.2", labels={"app": "other"}),
    pod("other", "10.0.0.2", labels={"app": "other"}, proxy=False),
    pod("badly", "10.0.0.3", labels={"app": "web"}, service_account="badly"),
    service("web", ip="10.96.0.1"),
    service("v1", ip="10.96.0.2"),
    service("v2", ip="10.96.0.4"),
    service("badly", ip="10.96.0.3"),
    slice_of("web", "10.0.0.1", "10.0.0.3"),
    slice_of("web", "10.0.0.1"),
    slice_of("v1", "10.0.0.1"),
    slice_of("v2", "10.0.0.2"),
    slice_of("badly", "10.0.0.3"),
    canary("web", "web", {"v1": "1", "v2": "1"}),
    canary("web", "web", {"v1": "1", "v2": "2"}),
    canary("badly", "badly", {"v1": "1"}),
    mutual_tls("all"),
    mutual_tls("all", labels={"app": "web"}),
    mutual_tls("one", "one.example", labels={"app": "other"}),
    sidecar("labels", {"team": "a"}),
    sidecar("labels", {"team": "a"}, labels={"version": "2"}),
)

proxies = st.sampled_from(NODES)


class WhatIsSaid(RuleBasedStateMachine):
    """Objects come, change and go; proxies do, ask, acknowledge and refuse; certificates are renewed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.resolver = Resolver(STANDALONE)
        self.mesh: Mesh[UnitKey] = Mesh(
            provider=provider,
            authority=LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=self.now),
            mesh=MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local"),
            clock=lambda: self.now,
        )
        self.view = OwnView(self.mesh, "a")
        self.proxies: dict[NodeId, DeltaProxy] = {}
        for given in OBJECTS:
            put(self.resolver, given)
        self.settle()

    def settle(self) -> None:
        changed = self.resolver.settle().changed
        self.mesh.carry_out(changed, self.resolver.units)
        self.view.note_units(changed)

    @rule(given=st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=3), by=st.sampled_from((put, put, remove)))
    def objects_change(self, given: list[AnyObject], by: Callable[[Resolver, AnyObject], None]) -> None:
        for each in given:
            by(self.resolver, each)
        self.settle()

    @rule(node=proxies)
    def connects(self, node: NodeId) -> None:
        self.goes(node)
        proxy = self.proxies[node] = DeltaProxy(self.mesh.cache, node, picky=False, terse=False)
        proxy.wanted = {CLUSTER: {"*"}, LISTENER: {"*"}, SECRET: {CLIENT, SERVER, ROOTS}}
        proxy.connect()

    @rule(node=proxies)
    def goes(self, node: NodeId) -> None:
        if (proxy := self.proxies.pop(node, None)) is not None:
            proxy.disconnect()

    @rule(node=proxies, type_url=st.sampled_from((ENDPOINT, ROUTE)))
    def asks_for_what_there_is(self, node: NodeId, type_url: str) -> None:
        collection = self.mesh.cache.find(type_url)
        if (proxy := self.proxies.get(node)) is not None and collection is not None:
            proxy.want(type_url, {entry.name for entry in collection.wildcard(node)})

    @rule(node=proxies, rounds=st.sampled_from((1, 2, 3, 100)))
    def talks(self, node: NodeId, rounds: int) -> None:
        if (proxy := self.proxies.get(node)) is not None:
            for _ in range(rounds):
                proxy.server_receives()
                proxy.server_sends(0.0)
                proxy.proxy_receives()

    @rule()
    def certificates_are_renewed(self) -> None:
        self.mesh.renew_certificates()

    @invariant()
    def it_is_what_one_says_who_looks_at_everything(self) -> None:
        self.view.note_answers(self.mesh.cache.acks.take_changes())
        anew = OwnView(self.mesh, "a")
        anew.note_units(self.resolver.units)
        assert self.view.look(self.resolver.units) == anew.look(self.resolver.units)


def test_who_has_just_come_lacks_everything() -> None:
    """SMI-STATUS-05: a proxy that connected after the last answers were taken is not taken for one that has it all."""
    plane = ControlPlane(
        name="a",
        settings=STANDALONE,
        provider=provider,
        authority=LocalAuthority.open(MemoryKeyStore(), trust_domain=STANDALONE.trust_domain, now=now()),
        owner_of=_nobody,
        tls=TlsConfig(certificate_chain=b"", private_key=b""),
        changed=lambda: None,
    )
    for given in (OBJECTS[0], mutual_tls("all")):
        put(plane.resolver, given)
    plane.settle()
    plane.take_answers()
    ref = ObjectRef("MutualTLS", "shop", "all")
    assert plane.look().said[ref].proxies == 0
    put(plane.resolver, service("web"))
    plane.settle()
    DeltaProxy(plane.mesh.cache, NODES[0], picky=False, terse=False).connect()
    assert plane.look().said[ref].lagging == (NODES[0],)


async def _nobody(_token: str) -> NodeId | None:
    return None


TestWhatIsSaid = WhatIsSaid.TestCase
TestWhatIsSaid.settings = settings(max_examples=60, stateful_step_count=30)
