"""Make before break: at no moment does a proxy hold something that refers to what it does not have.

Source: xDS protocol, Eventual consistency considerations, and Resource warming.
"""

from __future__ import annotations

from collections.abc import Iterable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smeagol.refs import NodeId
from smeagol.xds import Cache, Resource
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds_kit.client import DeltaAnswer
from xds_kit.model import DeltaProxy, ModelProxy, WorldProxy

WEB = NodeId("shop/web")
NAMES = ("a", "b", "c", "d")
names = st.sets(st.sampled_from(NAMES))


def referred(body: bytes) -> set[str]:
    return set(body.decode().split(":")[2].split(",")) - {""}


class RoutesAndClusters(RuleBasedStateMachine):
    """One route per listener, which refers to any of the clusters; every update leaves the whole consistent.

    As Envoy does, the proxy withholds the acknowledgement of clusters until their endpoints came after them, also
    for a cluster that replaces one of the same name; that one serves on meanwhile, while a new one cannot serve yet.
    Time stands still, so nothing is sent only because the server lost patience.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache()
        self.generation = dict.fromkeys((CLUSTER, ENDPOINT, LISTENER, ROUTE), 0)
        self.proxy: ModelProxy = DeltaProxy(self.cache, WEB, picky=False, terse=False)
        self.warming: set[str] = set()
        self.cold: set[str] = set()  # those of the warming that replace nothing

    @initialize(kind=st.sampled_from((DeltaProxy, WorldProxy)))
    def connect(self, kind: type[DeltaProxy | WorldProxy]) -> None:
        self.proxy = kind(self.cache, WEB, picky=False, terse=False)
        self.proxy.wanted.update({CLUSTER: {"*"}, LISTENER: {"*"}})
        self.proxy.connect()

    def resource(self, type_url: str, name: str, refers_to: Iterable[str] = ()) -> Resource:
        body = f"{name}:{self.generation[type_url]}:{','.join(sorted(refers_to))}"
        return Resource(type_url, name, body.encode())

    @rule(
        clusters=names, listeners=names, data=st.data(), replaced=st.sets(st.sampled_from((CLUSTER, ENDPOINT, ROUTE)))
    )
    def update(self, clusters: set[str], listeners: set[str], data: st.DataObject, replaced: set[str]) -> None:
        for kind in replaced:
            self.generation[kind] += 1
        targets: st.SearchStrategy[set[str]] = (
            st.sets(st.sampled_from(sorted(clusters))) if clusters else st.just(set())
        )
        wanted = [self.resource(kind, name) for name in clusters for kind in (CLUSTER, ENDPOINT)]
        wanted += [self.resource(LISTENER, name) for name in listeners]
        wanted += [self.resource(ROUTE, name, data.draw(targets)) for name in sorted(listeners)]
        keys = {(each.type_url, each.name) for each in wanted}
        gone = [
            (kind, name) for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE) for name in NAMES if (kind, name) not in keys
        ]
        self.cache.update(shared=wanted, remove_shared=gone)

    @rule()
    def server_sends(self) -> None:
        self.proxy.server_sends(now=0.0)

    @rule()
    def server_receives(self) -> None:
        self.proxy.server_receives()

    @precondition(lambda self: self.proxy.to_proxy)
    @rule()
    def proxy_receives(self) -> None:
        answer = self.proxy.parse(self.proxy.to_proxy[0])
        before = dict(self.proxy.holds.get(answer.type_url, {}))
        if answer.type_url == CLUSTER:
            self.proxy.withheld.add(CLUSTER)
        self.proxy.proxy_receives()
        now = self.proxy.holds[answer.type_url]
        if answer.type_url == CLUSTER:
            self.warming = {name for name, body in now.items() if name in self.warming or before.get(name) != body}
            self.cold = {name for name in now if name in self.cold or name not in before}
            self.follow(ENDPOINT, now)
        elif answer.type_url == ENDPOINT:
            told = answer.names | (set(answer.removed) if isinstance(answer, DeltaAnswer) else set())
            self.warming -= told  # Envoy takes a missing assignment for an empty one
            self.cold -= told
        elif answer.type_url == LISTENER:
            self.follow(ROUTE, now)
        if not self.warming:
            self.proxy.release(CLUSTER)

    def follow(self, type_url: str, names: Iterable[str]) -> None:
        """Ask for what the held resources refer to, and no longer for the rest."""
        have = self.proxy.wanted.get(type_url, set())
        if new := set(names) - have:
            self.proxy.want(type_url, new)
        if old := have - set(names):
            self.proxy.unwant(type_url, old)

    @invariant()
    def no_route_leads_nowhere(self) -> None:
        ready = self.proxy.holds.get(CLUSTER, {}).keys() - self.cold
        for body in self.proxy.holds.get(ROUTE, {}).values():
            assert referred(body) <= ready

    @rule()
    def all_is_said(self) -> None:
        moving = self.proxy.session is not None
        while moving:
            moving = self.proxy.server_receives() or self.proxy.server_sends(now=0.0)
            if self.proxy.to_proxy:
                self.proxy_receives()
                self.no_route_leads_nowhere()
                moving = True
            if not moving and self.warming and isinstance(self.proxy, WorldProxy):
                # Only the delta variant can say that there are no endpoints; here Envoy's initial_fetch_timeout ends.
                self.warming.clear()
                self.proxy.release(CLUSTER)
                moving = True
        progress = self.cache.acks.of_node(WEB)
        assert progress is None or progress.settled, "endpoints followed every cluster, so nothing waits"

    def teardown(self) -> None:
        self.all_is_said()


TestRoutesAndClusters = RoutesAndClusters.TestCase
TestRoutesAndClusters.settings = settings(max_examples=200, stateful_step_count=40)
