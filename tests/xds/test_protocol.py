"""State tables of the protocol: whatever happens, when all has been said a proxy holds exactly what the cache says."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from smeagol.refs import NodeId
from smeagol.xds import Cache, Nack, NodeUpdate, Progress, Resource, Standing
from smeagol.xds.session import LINGER_SECONDS
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds_kit.model import DeltaProxy, ModelProxy, WorldProxy, is_bad

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
NAMES = ("a", "b", "c", "d")
NODES = (NodeId("shop/web"), NodeId("shop/cart"))
FALLBACK = "made-to-order"

types = st.sampled_from(TYPES)
names = st.sampled_from(NAMES)
keys = st.tuples(types, names)


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    type_url, name = draw(keys)
    content = draw(st.sampled_from(("1", "2", "3", "bad", "bad2")))
    return Resource(type_url, name, f"{name}:{content}".encode(), on_demand=draw(st.sampled_from((False, False, True))))


node_updates = st.builds(
    NodeUpdate, put=st.lists(resources(), max_size=2).map(tuple), remove=st.lists(keys, max_size=2).map(tuple)
)


def made_to_order(type_url: str, name: str) -> Resource | None:
    return Resource(type_url, name, f"{name}:fallback".encode()) if name == FALLBACK else None


class ProxiesAndCache(RuleBasedStateMachine):
    """Updates, subscriptions, refusals, broken connections and messages in flight, in any order."""

    proxies = Bundle[ModelProxy]("proxies")

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(fallback=made_to_order)
        self.all: list[ModelProxy] = []
        self.now = 0.0
        # What the cache should hold, kept in the plainest way.
        self.shared: dict[tuple[str, str], Resource] = {}
        self.own: dict[NodeId, dict[tuple[str, str], Resource]] = {}
        self.progress: dict[tuple[str, str], Progress] = {}
        self.standings: dict[NodeId, dict[tuple[str, str], Standing | Nack | None]] = {}

    @initialize(
        target=proxies, kind=st.sampled_from((DeltaProxy, WorldProxy)), picky=st.booleans(), terse=st.booleans()
    )
    def first_proxy(self, kind: type[DeltaProxy | WorldProxy], picky: bool, terse: bool) -> ModelProxy:
        return self.add(kind, NODES[0], picky, terse)

    @rule(
        target=proxies,
        kind=st.sampled_from((DeltaProxy, WorldProxy)),
        node=st.sampled_from(NODES),
        picky=st.booleans(),
        terse=st.booleans(),
    )
    def another_proxy(self, kind: type[DeltaProxy | WorldProxy], node: NodeId, picky: bool, terse: bool) -> ModelProxy:
        return self.add(kind, node, picky, terse)

    def add(self, kind: type[DeltaProxy | WorldProxy], node: NodeId, picky: bool, terse: bool) -> ModelProxy:
        proxy = kind(self.cache, node, picky=picky, terse=terse)
        self.all.append(proxy)
        proxy.wanted.update({CLUSTER: {"*"}, LISTENER: {"*"}})
        proxy.connect()
        return proxy

    @rule(
        put=st.lists(resources(), max_size=4),
        remove=st.lists(keys, max_size=3),
        nodes=st.dictionaries(st.sampled_from(NODES), node_updates, max_size=2),
        remove_nodes=st.lists(st.sampled_from(NODES), max_size=1),
    )
    def update(
        self,
        put: list[Resource],
        remove: list[tuple[str, str]],
        nodes: dict[NodeId, NodeUpdate],
        remove_nodes: list[NodeId],
    ) -> None:
        for key in remove:
            self.shared.pop(key, None)
        self.shared.update({(r.type_url, r.name): r for r in put})
        for node in remove_nodes:
            self.own.pop(node, None)
        for node, change in nodes.items():
            own = self.own.setdefault(node, {})
            for key in change.remove:
                own.pop(key, None)
            own.update({(r.type_url, r.name): r for r in change.put})
        self.cache.update(shared=put, remove_shared=remove, nodes=nodes, remove_nodes=remove_nodes)

    @rule(proxy=proxies, type_url=types, wanted=st.sets(st.sampled_from((*NAMES, FALLBACK)), min_size=1, max_size=3))
    def subscribe(self, proxy: ModelProxy, type_url: str, wanted: set[str]) -> None:
        proxy.want(type_url, wanted)

    @rule(proxy=proxies, type_url=types, unwanted=st.sets(names, min_size=1, max_size=3))
    def unsubscribe(self, proxy: ModelProxy, type_url: str, unwanted: set[str]) -> None:
        proxy.unwant(type_url, unwanted)

    @rule(proxy=proxies, type_url=st.sampled_from((CLUSTER, LISTENER)), on=st.booleans())
    def wildcard(self, proxy: ModelProxy, type_url: str, on: bool) -> None:
        if on:
            proxy.want(type_url, {"*"})
        else:
            proxy.unwant(type_url, {"*"})

    @rule(proxy=proxies)
    def cut(self, proxy: ModelProxy) -> None:
        proxy.disconnect()
        if isinstance(proxy, WorldProxy):
            proxy.picky = proxy.terse = False  # a known limit: see WorldSubscription.refused
        proxy.connect()

    @rule(proxy=proxies, count=st.integers(1, 4))
    def server_sends(self, proxy: ModelProxy, count: int) -> None:
        for _ in range(count):
            proxy.server_sends(self.now)

    @rule(proxy=proxies, count=st.integers(1, 4))
    def server_receives(self, proxy: ModelProxy, count: int) -> None:
        for _ in range(count):
            proxy.server_receives()

    @rule(proxy=proxies, count=st.integers(1, 4))
    def proxy_receives(self, proxy: ModelProxy, count: int) -> None:
        for _ in range(count):
            proxy.proxy_receives()

    @rule(seconds=st.sampled_from((0.1, 20.0)))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(proxy=proxies, type_url=types)
    def keep_answers_back(self, proxy: ModelProxy, type_url: str) -> None:
        proxy.withheld.add(type_url)

    @rule(proxy=proxies, type_url=types)
    def send_answers(self, proxy: ModelProxy, type_url: str) -> None:
        proxy.release(type_url)

    @invariant()
    def one_answer_at_most_is_awaited(self) -> None:
        """Bounded memory: however much changes, no more than one response of a type is on its way to a proxy."""
        for proxy in self.all:
            kinds = [proxy.parse(raw).type_url for raw in proxy.to_proxy]
            assert len(kinds) == len(set(kinds))

    @invariant()
    def what_is_not_told_of_has_not_changed(self) -> None:
        """Who asks again only for what `take_changes` names knows as much as who asks for everything."""
        acks = self.cache.acks
        changes = acks.take_changes()
        everything = [(type_url, name) for type_url in TYPES for name in (*NAMES, FALLBACK)]
        progress = {key: acks.of(*key) for key in everything}
        standings = {n: {key: acks.standing(n, *key) for key in self.own.get(n, {})} for n in NODES}
        if not changes.everything:
            for key in everything:
                assert key in changes.keys or progress[key] == self.progress[key]
        for node in NODES:
            assert node in changes.nodes or standings[node] == self.standings.get(node, {})
        self.progress, self.standings = progress, standings

    @rule(type_url=types)
    def what_is_said_of_a_resource_is_what_is_said_of_each_proxy(self, type_url: str) -> None:
        """Those that are skipped because they have nothing to do with it would have had nothing to say."""
        collection = self.cache.find(type_url)
        if collection is None:
            return
        nodes = [proxy.node for proxy in self.all]
        asked = [s for s in collection.readers.values() if nodes.count(s.node) == 1]
        for name in (*NAMES, FALLBACK):
            progress = self.cache.acks.of(type_url, name)
            for each in (s for s in asked if s.wildcard or s.names(name)):
                standing = each.standing(name)
                assert (each.node in progress.lagging) == (standing is Standing.LAGGING)
                assert (each.node in {nack.node for nack in progress.refused}) == (standing is Standing.REFUSED)

    @rule(keys=st.sets(st.tuples(types, st.sampled_from((*NAMES, FALLBACK)))))
    def what_is_said_of_several_resources_is_what_is_said_of_each(self, keys: set[tuple[str, str]]) -> None:
        """It is found out from those that lack something, the others are only counted."""
        each = [self.cache.acks.of(*key) for key in keys]
        reach = self.cache.acks.reach(keys)
        assert reach.lagging == {node for progress in each for node in progress.lagging}
        assert reach.refused.keys() == {nack.node for progress in each for nack in progress.refused}
        current = {node for progress in each for node in progress.current}
        assert reach.proxies == len(current | reach.lagging | reach.refused.keys())

    @rule()
    def all_is_said(self) -> None:
        for proxy in self.all:
            proxy.settle(self.now)
            self.now += LINGER_SECONDS
            proxy.settle(self.now)
            for type_url in proxy.wanted:
                self.check(proxy, type_url)
            before = proxy.received
            proxy.settle(self.now + 100.0)
            assert proxy.received == before, "a refused version is not sent again"

    def check(self, proxy: ModelProxy, type_url: str) -> None:
        wanted = proxy.wanted[type_url]
        should: dict[str, bytes] = {}
        for name in (*NAMES, FALLBACK):
            own = self.own.get(proxy.node, {}).get((type_url, name))
            resource = own or self.shared.get((type_url, name))
            if name in wanted:
                resource = resource or made_to_order(type_url, name)
            elif "*" not in wanted or (resource is not None and resource.on_demand):
                resource = None
            if resource is not None:
                should[name] = resource.body
        holds = proxy.holds.get(type_url, {})
        for name, body in should.items():
            if is_bad(body):
                assert not is_bad(holds.get(name, b"")), "a proxy goes on with what it had"
            else:
                assert holds.get(name) == body
        if isinstance(proxy, DeltaProxy) or type_url in (CLUSTER, LISTENER):
            assert holds.keys() <= should.keys()
        self.check_status(proxy, type_url, should)

    def check_status(self, proxy: ModelProxy, type_url: str, should: dict[str, bytes]) -> None:
        """What is reported is what is so: the bad ones as refused, with the reason, all others as current."""
        if proxy is not max((p for p in self.all if p.node == proxy.node), key=lambda p: p.connected_as):
            return  # a newer stream speaks for this node
        for name, body in should.items():
            progress = self.cache.acks.of(type_url, name)
            if is_bad(body):
                reasons = [nack.message for nack in progress.refused if nack.node == proxy.node]
                assert len(reasons) == 1
                assert proxy.terse or name in reasons[0].removeprefix("cannot use ").split(", ")
            else:
                assert proxy.node in progress.current

    def teardown(self) -> None:
        self.all_is_said()
        for proxy in self.all:
            proxy.disconnect()
        assert self.cache.acks.connected == {}


TestProxiesAndCache = ProxiesAndCache.TestCase
TestProxiesAndCache.settings = settings(max_examples=200, stateful_step_count=40)
