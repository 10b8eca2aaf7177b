"""The rules of one stream, one by one; `test_protocol` proves that together they lead to the right state."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from smeagol.refs import NodeId
from smeagol.xds import Cache, Nack, NodeUpdate, Resource
from smeagol.xds.collection import SPARE_TOMBSTONES
from smeagol.xds.errors import LostHistory, MalformedResource, TooManyNames
from smeagol.xds.session import LINGER_SECONDS, PATIENCE_SECONDS, DeltaSession, WorldSession
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from smeagol.xds.wire import DeltaRequest, WorldRequest
from xds_kit.client import DeltaAnswer, WorldAnswer

WEB = NodeId("shop/web-1")
CART = NodeId("shop/cart-1")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def cache() -> Cache:
    return Cache(clock=lambda: NOON)


class Delta:
    """A stream of the delta variant whose proxy does nothing by itself."""

    def __init__(self, cache: Cache, node: NodeId = WEB) -> None:
        self.woken = 0
        self.session = DeltaSession(cache, node, self.wake)
        self.now = 0.0

    def wake(self) -> None:
        self.woken += 1

    def ask(
        self, type_url: str, *names: str, unsubscribe: tuple[str, ...] = (), known: dict[str, str] | None = None
    ) -> None:
        request = DeltaRequest(type_url=type_url, subscribe=names, unsubscribe=unsubscribe, known=known or {})
        self.session.on_request(request)

    def answers(self) -> list[DeltaAnswer]:
        """All that the server sends now."""
        raw = iter(lambda: self.session.next_response(self.now), None)
        return [DeltaAnswer.parse(each) for each in raw]

    def answer(self) -> DeltaAnswer:
        (only,) = self.answers()
        return only

    def reply(self, answer: DeltaAnswer, refusal: str | None = None) -> None:
        self.session.on_request(DeltaRequest(type_url=answer.type_url, nonce=answer.nonce, refusal=refusal))

    def acked(self) -> list[DeltaAnswer]:
        """All that the server sends if everything is acknowledged, in order."""
        said = []
        while batch := self.answers():
            said += batch
            for answer in batch:
                self.reply(answer)
        return said


@pytest.fixture
def web(cache: Cache) -> Delta:
    return Delta(cache)


def put(cache: Cache, type_url: str, **bodies: str) -> None:
    cache.update(shared=[Resource(type_url, name, body.encode()) for name, body in bodies.items()])


def test_what_is_accepted_is_timed() -> None:
    """From its sending; a refusal is not among them."""
    moment = [NOON]
    cache = Cache(clock=lambda: moment[0])
    web = Delta(cache)
    web.ask(CLUSTER)
    accepted = web.answer()
    moment[0] += timedelta(seconds=0.3)
    web.reply(accepted)
    put(cache, CLUSTER, a="1")
    refused = web.answer()
    moment[0] += timedelta(seconds=5)
    web.reply(refused, "no")
    assert cache.stats.ack_latency.total == pytest.approx(0.3)
    assert sum(cache.stats.ack_latency.counts) == cache.stats.acks == 1


class TestSubscribing:
    def test_silence_means_all_clusters_and_listeners(self, cache: Cache, web: Delta) -> None:
        """xDS protocol, How the client specifies what resources to return: the wildcard by silence."""
        put(cache, CLUSTER, a="1")
        put(cache, LISTENER, b="1")
        for type_url in (CLUSTER, LISTENER):
            web.ask(type_url)
        assert [answer.resources for answer in web.acked()] == [{"a": b"1"}, {"b": b"1"}]

    def test_silence_means_nothing_elsewhere(self, cache: Cache, web: Delta) -> None:
        """A reconnecting Envoy may name a type of which it needs nothing."""
        put(cache, ROUTE, a="1")
        web.ask(ROUTE)
        assert web.answers() == []

    def test_an_empty_wildcard_is_answered(self, web: Delta) -> None:
        """Else Envoy would wait for its first clusters until a timeout."""
        web.ask(CLUSTER)
        assert web.answer().resources == {}
        assert web.answers() == []

    def test_the_star_and_names_together(self, cache: Cache, web: Delta) -> None:
        """Giving up the star leaves the names; giving up a name leaves what the star includes, and says so."""
        put(cache, CLUSTER, a="1", b="1")
        web.ask(CLUSTER, "*", "a", "pod")
        web.acked()
        web.ask(CLUSTER, unsubscribe=("a", "pod"))
        (answer,) = web.acked()
        assert (answer.resources, answer.removed) == ({"a": b"1"}, ("pod",))
        web.ask(CLUSTER, "a", unsubscribe=("*",))
        web.acked()
        put(cache, CLUSTER, a="2", b="2")
        assert web.answer().resources == {"a": b"2"}

    def test_naming_again_is_answered_again(self, cache: Cache, web: Delta) -> None:
        """xDS protocol, Subscribing to Resources: the client may have forgotten what it was sent."""
        put(cache, ROUTE, a="1")
        for _ in range(2):
            web.ask(ROUTE, "a")
            assert [answer.resources for answer in web.acked()] == [{"a": b"1"}]

    def test_what_is_no_longer_wanted_is_not_sent(self, cache: Cache, web: Delta) -> None:
        web.ask(ROUTE, "a", "b")
        web.acked()
        web.ask(ROUTE, unsubscribe=("a", "never asked for"))
        put(cache, ROUTE, a="1", b="1")
        assert web.answer().resources == {"b": b"1"}

    def test_after_a_reconnect_only_what_changed(self, cache: Cache) -> None:
        """`initial_resource_versions`: what is the same is not sent, what is gone is removed."""
        put(cache, CLUSTER, a="1", b="1", c="1")
        put(cache, ENDPOINT, a="1", b="1")
        first = Delta(cache)
        first.ask(CLUSTER)
        first.ask(ENDPOINT, "a", "b")
        known = {answer.type_url: answer.versions for answer in first.acked()}
        first.session.close()
        put(cache, CLUSTER, a="2", d="1")
        cache.update(remove_shared=[(CLUSTER, "c"), (ENDPOINT, "b")])
        again = Delta(cache)
        again.ask(CLUSTER, known=known[CLUSTER])
        again.ask(ENDPOINT, "a", "b", known=known[ENDPOINT])
        answers = again.acked()
        again.now = LINGER_SECONDS
        answers += again.acked()
        assert [(answer.type_url, answer.resources, answer.removed) for answer in answers] == [
            (CLUSTER, {"a": b"2", "d": b"1"}, ()),
            (ENDPOINT, {"a": b"1"}, ("b",)),  # a once more, because its cluster is replaced
            (CLUSTER, {}, ("c",)),
        ]


class TestOwnAndOnDemand:
    def test_a_nodes_own_hides_the_shared_one(self, cache: Cache) -> None:
        """Only for that node; when it goes, the shared one shows again."""
        put(cache, LISTENER, inbound="shared")
        cache.update(nodes={WEB: NodeUpdate((Resource(LISTENER, "inbound", b"own"),))})
        web, cart = Delta(cache, WEB), Delta(cache, CART)
        for proxy, body in ((web, b"own"), (cart, b"shared")):
            proxy.ask(LISTENER)
            assert [answer.resources for answer in proxy.acked()] == [{"inbound": body}]
        put(cache, LISTENER, inbound="shared 2")
        assert web.acked() == []
        assert [answer.resources for answer in cart.acked()] == [{"inbound": b"shared 2"}]
        cache.update(remove_nodes=[WEB])
        assert [answer.resources for answer in web.acked()] == [{"inbound": b"shared 2"}]

    def test_an_own_one_on_demand_takes_the_place_of_a_shared_one(self, cache: Cache, web: Delta) -> None:
        """In one update: who wants everything no longer has either."""
        put(cache, CLUSTER, a="1")
        web.ask(CLUSTER)
        web.acked()
        cache.update(
            remove_shared=[(CLUSTER, "a")], nodes={WEB: NodeUpdate((Resource(CLUSTER, "a", b"1", on_demand=True),))}
        )
        assert [answer.removed for answer in web.acked()] == [("a",)]

    def test_on_demand_is_for_those_who_name_it(self, cache: Cache, web: Delta) -> None:
        cache.update(shared=[Resource(CLUSTER, "pod", b"1", on_demand=True)])
        web.ask(CLUSTER)
        assert web.answer().resources == {}
        web.ask(CLUSTER, "pod")
        web.session.on_request(DeltaRequest(type_url=CLUSTER, nonce="1"))
        assert web.answer().resources == {"pod": b"1"}

    def test_the_fallback_answers_until_there_is_better(self) -> None:
        """For names that cannot be known beforehand; what is put under the name later replaces it."""

        def pod_cluster(type_url: str, name: str) -> Resource | None:
            return Resource(type_url, name, b"made") if name.startswith("pod/") else None

        cache = Cache(fallback=pod_cluster)
        web = Delta(cache)
        web.ask(CLUSTER, "pod/10.0.0.1:80", "other")
        (answer,) = web.acked()
        assert (answer.resources, answer.removed) == ({"pod/10.0.0.1:80": b"made"}, ("other",))
        cache.update(shared=[Resource(CLUSTER, "pod/10.0.0.1:80", b"better", on_demand=True)])
        assert [answer.resources for answer in web.acked()] == [{"pod/10.0.0.1:80": b"better"}]
        cache.update(remove_shared=[(CLUSTER, "pod/10.0.0.1:80")])
        assert [answer.resources for answer in web.acked()] == [{"pod/10.0.0.1:80": b"made"}]


class TestOrder:
    """Make before break (xDS protocol, Eventual consistency considerations)."""

    @pytest.fixture
    def full(self, cache: Cache) -> Delta:
        """A proxy that has one of each."""
        for type_url in (SECRET, CLUSTER, ENDPOINT, LISTENER, ROUTE):
            put(cache, type_url, a="1")
        proxy = Delta(cache)
        for type_url in (CLUSTER, LISTENER):
            proxy.ask(type_url)
        for type_url in (ENDPOINT, ROUTE, SECRET):
            proxy.ask(type_url, "a", "b")
        proxy.acked()
        return proxy

    def test_first_what_is_referred_to(self, cache: Cache, full: Delta) -> None:
        cache.update(shared=[Resource(t, "b", b"1") for t in (ROUTE, LISTENER, ENDPOINT, CLUSTER, SECRET)])
        before_acks = full.answers()
        assert [answer.type_url for answer in before_acks] == [SECRET, CLUSTER, ENDPOINT]
        for answer in before_acks:
            full.reply(answer)
        assert [answer.type_url for answer in full.acked()] == [LISTENER, ROUTE]

    def test_removals_last_and_the_other_way_round(self, cache: Cache, full: Delta) -> None:
        cache.update(remove_shared=[(t, "a") for t in (SECRET, CLUSTER, ENDPOINT, LISTENER, ROUTE)])
        put(cache, LISTENER, b="1")
        (addition,) = full.answers()
        assert addition.resources == {"b": b"1"}
        full.reply(addition)
        said = full.acked()
        assert [answer.type_url for answer in said] == [ROUTE, LISTENER]
        assert full.session.settled, "what connections of a removed listener may need is not waited for"
        full.now = full.session.deadline(full.now) or 0.0
        assert full.now == LINGER_SECONDS
        said += full.acked()
        assert [answer.type_url for answer in said] == [ROUTE, LISTENER, ENDPOINT, CLUSTER, SECRET]
        assert {answer.removed for answer in said} == {("a",)}

    def test_it_lingers_for_a_while_only(self, cache: Cache, full: Delta) -> None:
        """Where listeners go all the time, what they needed would else be kept for ever."""
        cache.update(remove_shared=[(t, "a") for t in (CLUSTER, LISTENER)])
        for second in range(0, int(2 * LINGER_SECONDS), 10):
            put(cache, LISTENER, b="1")
            full.acked()
            cache.update(remove_shared=[(LISTENER, "b")])
            full.now = float(second)
            assert CLUSTER not in {answer.type_url for answer in full.acked()}
        full.now = 2 * LINGER_SECONDS
        assert [answer.removed for answer in full.acked()] == [("a",)]

    def test_what_comes_back_while_it_lingers_stays(self, cache: Cache, full: Delta) -> None:
        cache.update(remove_shared=[(t, "a") for t in (CLUSTER, ENDPOINT, LISTENER)])
        assert [answer.type_url for answer in full.acked()] == [LISTENER]
        for type_url in (CLUSTER, ENDPOINT, LISTENER):
            put(cache, type_url, a="2")
        full.now = LINGER_SECONDS
        assert {answer.removed for answer in full.acked()} == {()}

    def test_what_another_stream_left_lingers_on(self, cache: Cache) -> None:
        """A proxy comes from a replica that has just told it that a listener is gone: it still has the cluster."""
        put(cache, CLUSTER, b="1")
        proxy = Delta(cache)
        proxy.now = 100.0
        proxy.ask(CLUSTER, known={"a": "1", "b": "1"})
        proxy.ask(LISTENER)
        assert not any(answer.removed for answer in proxy.acked())
        assert proxy.session.deadline(proxy.now) == proxy.now + LINGER_SECONDS
        proxy.now += LINGER_SECONDS
        assert [answer.removed for answer in proxy.acked()] == [("a",)]

    def test_endpoints_again_for_a_cluster_that_is_replaced(self, cache: Cache, full: Delta) -> None:
        """At once: Envoy acknowledges the cluster when it is warm, and it warms when it gets endpoints (again)."""
        put(cache, CLUSTER, a="2")
        assert [(answer.type_url, answer.names) for answer in full.answers()] == [(CLUSTER, {"a"}), (ENDPOINT, {"a"})]

    def test_endpoints_alone_wait_for_nothing(self, cache: Cache, full: Delta) -> None:
        """A stream of changes of endpoints, never acknowledged in time, does not hold up a route."""
        put(cache, ENDPOINT, a="2")
        assert [answer.type_url for answer in full.answers()] == [ENDPOINT]
        put(cache, ROUTE, a="2")
        assert [answer.type_url for answer in full.answers()] == [ROUTE]

    def test_patience_ends(self, cache: Cache, full: Delta) -> None:
        """A proxy that never acknowledges a cluster gets the rest all the same, after a while."""
        cache.update(shared=[Resource(CLUSTER, "b", b"1"), Resource(LISTENER, "b", b"1")])
        assert [answer.type_url for answer in full.answers()] == [CLUSTER, ENDPOINT]
        assert full.session.deadline(full.now) == PATIENCE_SECONDS
        full.now = PATIENCE_SECONDS
        assert [answer.type_url for answer in full.answers()] == [LISTENER]
        assert full.session.deadline(full.now) is None


class TestAnswers:
    def test_only_the_newest_state_is_kept(self, cache: Cache, web: Delta) -> None:
        """While an answer is awaited nothing more of the type is sent; then all that changed meanwhile, once."""
        web.ask(CLUSTER)
        first = web.answer()
        for number in range(10):
            put(cache, CLUSTER, a=str(number))
        assert web.answers() == []
        web.reply(first)
        assert web.answer().resources == {"a": b"9"}

    def test_a_large_state_is_divided(self, cache: Cache, web: Delta) -> None:
        """gRPC clients refuse messages of more than 4 MiB unless told otherwise."""
        cache.update(shared=[Resource(CLUSTER, str(i), bytes(500_000)) for i in range(10)])
        web.ask(CLUSTER)
        sizes = [len(answer.resources) for answer in web.acked()]
        assert sum(sizes) == 10
        assert max(sizes) <= 5

    def test_a_refusal_is_kept_with_its_reason(self, cache: Cache, web: Delta) -> None:
        """And not repeated, until there is another version or the proxy asks again."""
        put(cache, ROUTE, a="bad")
        web.ask(ROUTE, "a")
        web.reply(web.answer(), "cannot")
        version = cache.version_of(ROUTE, "a")
        nack = Nack(node=WEB, type_url=ROUTE, name="a", version=str(version), message="cannot", time=NOON)
        assert cache.acks.of(ROUTE, "a").refused == (nack,)
        assert cache.acks.refused() == (nack,)
        put(cache, ROUTE, b="1")
        assert web.answers() == []
        put(cache, ROUTE, a="good")
        assert [answer.resources for answer in web.acked()] == [{"a": b"good"}]
        assert cache.acks.refused() == ()

    @pytest.mark.parametrize("reason", ["no", "c42 is bad"])
    def test_one_bad_among_many(self, cache: Cache, web: Delta, reason: str) -> None:
        """A refused response is sent again in parts, until the bad resource stands alone and all others are taken."""
        put(cache, CLUSTER, **{f"c{i}": "bad" if i == 42 else "good" for i in range(100)})
        web.ask(CLUSTER)
        has: dict[str, bytes] = {}
        responses = 0
        while said := web.answers():
            for answer in said:
                responses += 1
                bad = b"bad" in answer.resources.values()
                has |= {} if bad else answer.resources
                web.reply(answer, reason if bad else None)
        assert len(has) == 99
        assert [nack.name for nack in cache.acks.refused()] == ["c42"]
        assert responses <= (3 if reason != "no" else 15)

    def test_who_speaks_for_a_node(self, cache: Cache) -> None:
        """The newest of its streams; when that ends, the one before."""
        put(cache, CLUSTER, a="1")
        old, new = Delta(cache), Delta(cache)
        for each in (old, new):
            each.ask(CLUSTER)
        old.acked()
        assert cache.acks.of(CLUSTER, "a").lagging == (WEB,)
        new.session.close()
        assert cache.acks.of(CLUSTER, "a").current == (WEB,)
        assert cache.acks.connected == {WEB: NOON}
        old.session.close()
        assert cache.acks.of_node(WEB) is None

    def test_who_is_at_rest_is_not_forgotten_when_it_asks_again(self, cache: Cache, web: Delta) -> None:
        """A proxy of everything that gives up a name has that resource until it says that it is gone.

        Who may lack something is found once for many questions: a request must end what was found before.
        """
        cache.update(shared=[Resource(CLUSTER, "pod", b"1", on_demand=True)])
        web.ask(CLUSTER, "*", "pod")
        web.acked()
        assert cache.acks.of(CLUSTER, "other").complete
        web.ask(CLUSTER, unsubscribe=("pod",))
        assert cache.acks.of(CLUSTER, "pod").lagging == (WEB,)
        answer = web.answer()
        assert cache.acks.of(CLUSTER, "pod").lagging == (WEB,)
        web.reply(answer)
        assert cache.acks.of(CLUSTER, "pod").complete

    def test_who_has_what_no_wildcard_gives_any_more(self, cache: Cache, web: Delta) -> None:
        """A resource that is made on demand from now on is lagging until each proxy has said that it has let it go."""
        put(cache, CLUSTER, pod="1")
        web.ask(CLUSTER)
        web.acked()
        assert cache.acks.of(CLUSTER, "other").complete
        cache.update(shared=[Resource(CLUSTER, "pod", b"1", on_demand=True)])
        assert cache.acks.of(CLUSTER, "pod").lagging == (WEB,)
        answer = web.answer()
        assert cache.acks.of(CLUSTER, "pod").lagging == (WEB,)
        web.reply(answer)
        assert cache.acks.of(CLUSTER, "pod").complete

    def test_what_does_not_concern_a_proxy_does_not_unsettle_it(self, cache: Cache, web: Delta) -> None:
        """It is not woken for a change of what it has not asked for, and need not be."""
        web.ask(ENDPOINT, "a")
        web.acked()
        put(cache, ENDPOINT, b="1")
        progress = cache.acks.of_node(WEB)
        assert progress is not None
        assert progress.settled
        assert progress.since == NOON

    def test_a_refused_resource_that_is_gone(self, cache: Cache) -> None:
        """Nobody refuses what is no longer there, also where a proxy cannot be told that it is gone."""
        put(cache, ENDPOINT, a="bad")
        session = WorldSession(cache, WEB, lambda: None)
        session.on_request(WorldRequest(type_url=ENDPOINT, names=("a",)))
        session.next_response(0.0)
        session.on_request(WorldRequest(type_url=ENDPOINT, names=("a",), nonce="1", refusal="no"))
        assert len(cache.acks.refused()) == 1
        cache.update(remove_shared=[(ENDPOINT, "a")])
        assert cache.acks.refused() == ()
        assert session.next_response(0.0) is None
        assert session.settled

    def test_news_is_told_once(self, cache: Cache, web: Delta) -> None:
        """An observer is called when there is news, and again only after it has taken the news."""
        calls: list[int] = []
        cache.acks.observe(lambda: calls.append(1))
        put(cache, CLUSTER, a="1", b="1")
        web.ask(CLUSTER)
        web.acked()
        assert len(calls) == 1
        changes = cache.acks.take_changes()
        assert changes.keys == {(CLUSTER, "a"), (CLUSTER, "b")}
        assert changes.nodes == {WEB}
        assert cache.acks.take_changes().keys == frozenset()
        put(cache, CLUSTER, a="2")
        assert len(calls) == 2


class TestWorld:
    """What is particular to the state-of-the-world variant."""

    def request(self, session: WorldSession, type_url: str, *names: str, **fields: str) -> list[WorldAnswer]:
        session.on_request(WorldRequest(type_url=type_url, names=names, **fields))
        return [WorldAnswer.parse(raw) for raw in iter(lambda: session.next_response(0.0), None)]

    def test_a_stale_nonce_is_ignored(self, cache: Cache) -> None:
        """xDS protocol, Resource updates: the client will say it all again with the newest nonce."""
        put(cache, ENDPOINT, a="1", b="1")
        session = WorldSession(cache, WEB, lambda: None)
        (first,) = self.request(session, ENDPOINT, "a")
        assert self.request(session, ENDPOINT, "a", "b") == [], "sent before the first response came"
        (second,) = self.request(session, ENDPOINT, "a", "b", version=first.version, nonce=first.nonce)
        assert second.bodies == (b"1",)
        assert cache.stats.stale_nonces == 1

    def test_clusters_stay_until_nothing_refers_to_them(self, cache: Cache) -> None:
        """An update that replaces one cluster by another goes out in two steps, with the route between."""
        put(cache, CLUSTER, a="a")
        put(cache, ROUTE, r="to a")
        session = WorldSession(cache, WEB, lambda: None)
        (clusters,) = self.request(session, CLUSTER)
        self.request(session, CLUSTER, version=clusters.version, nonce=clusters.nonce)
        (routes,) = self.request(session, ROUTE, "r")
        self.request(session, ROUTE, "r", version=routes.version, nonce=routes.nonce)
        cache.update(
            shared=[Resource(CLUSTER, "b", b"b"), Resource(ROUTE, "r", b"to b")], remove_shared=[(CLUSTER, "a")]
        )
        (both,) = [WorldAnswer.parse(raw) for raw in iter(lambda: session.next_response(0.0), None)]
        assert set(both.bodies) == {b"a", b"b"}
        (routes,) = self.request(session, CLUSTER, version=both.version, nonce=both.nonce)
        assert routes.bodies == (b"to b",)
        (last,) = self.request(session, ROUTE, "r", version=routes.version, nonce=routes.nonce)
        assert (last.type_url, last.bodies) == (CLUSTER, (b"b",))

    def test_a_reconnecting_proxy_loses_nothing_by_a_refusal(self, cache: Cache) -> None:
        """It holds resources from before, and a response without them would remove them; so nothing is taken out."""
        put(cache, CLUSTER, a="a", b="bad", c="c")
        session = WorldSession(cache, WEB, lambda: None)
        (first,) = self.request(session, CLUSTER, version="7")
        assert self.request(session, CLUSTER, version="7", nonce=first.nonce, refusal="cannot use b") == []
        assert [nack.name for nack in cache.acks.refused()] == ["b"]
        put(cache, CLUSTER, c="c2")
        (second,) = [WorldAnswer.parse(raw) for raw in iter(lambda: session.next_response(0.0), None)]
        assert set(second.bodies) == {b"a", b"bad", b"c2"}


class TestBounds:
    def test_a_stream_is_small_whatever_it_wants(self, cache: Cache) -> None:
        """No name and no version is kept per stream: a thousand services cost it what ten do."""

        def bytes_per_stream(services: int) -> float:
            cache = Cache()
            names = [f"service-{i}" for i in range(services)]
            kinds = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
            cache.update(shared=[Resource(kind, name, name.encode()) for kind in kinds for name in names])
            tracemalloc.start()
            streams = [Delta(cache, NodeId(f"shop/web-{i}")) for i in range(20)]
            for stream in streams:
                for kind in kinds:
                    stream.ask(kind, *(names if kind in (ENDPOINT, ROUTE) else ()))
                stream.acked()
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert len(cache.acks.of(ROUTE, names[0]).current) == 20
            return size / len(streams)

        few, many = bytes_per_stream(10), bytes_per_stream(1_000)
        # What grows is the index: one set of streams for each name, shared by all streams, so less with more streams.
        assert few < 15_000
        assert many < 30_000

    def test_only_those_concerned_wake(self, cache: Cache) -> None:
        """An update costs what it changes."""
        web, cart = Delta(cache, WEB), Delta(cache, CART)
        web.ask(ROUTE, "a")
        cart.ask(ROUTE, "b")
        put(cache, ROUTE, a="1")
        cache.update(nodes={CART: NodeUpdate((Resource(ROUTE, "x", b"1"),))})
        assert (web.woken, cart.woken) == (1, 0)
        assert cache.update(shared=[Resource(ROUTE, "a", b"1")]) == frozenset(), "the same bytes are no change"
        assert (web.woken, cart.woken) == (1, 0)

    def test_names_that_come_and_go_leave_nothing(self, cache: Cache) -> None:
        """The log of changes does not grow with what was, even if a proxy never answers; it misses nothing."""
        silent, quick = Delta(cache, WEB), Delta(cache, CART)
        for each in (silent, quick):
            each.ask(CLUSTER)
        quick.acked()
        first = silent.answer()
        put(cache, CLUSTER, stays="1")
        for number in range(5 * SPARE_TOMBSTONES):
            name = f"pod-{number}"
            cache.update(shared=[Resource(CLUSTER, name, b"1")])
            cache.update(remove_shared=[(CLUSTER, name)])
        collection = cache.find(CLUSTER)
        assert collection is not None
        assert len(collection.changed_since(0)) <= SPARE_TOMBSTONES + 2
        silent.reply(first)
        for each in (silent, quick):
            assert each.acked()[0].resources == {"stays": b"1"}

    def test_who_is_too_far_behind_must_start_anew(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rather than remember for ever what a silent proxy would have to be told."""
        monkeypatch.setattr("smeagol.xds.subscription.REMOVALS_LIMIT", 100)
        silent = Delta(cache)
        silent.ask(CLUSTER)
        silent.answer()
        for number in range(2 * SPARE_TOMBSTONES):
            cache.update(shared=[Resource(CLUSTER, f"pod-{number}", b"1")])
            cache.update(remove_shared=[(CLUSTER, f"pod-{number}")])
        with pytest.raises(LostHistory):
            silent.answers()

    def test_names_asked_for_and_given_up(self, cache: Cache, web: Delta, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count as long as their answers are due: a client that reads nothing cannot make the server remember more."""
        monkeypatch.setattr("smeagol.xds.session.NAMES_LIMIT", 10)
        web.ask(CLUSTER)
        web.answer()
        for number in range(10):
            web.ask(CLUSTER, f"pod-{number}", unsubscribe=(f"pod-{number}",))
        with pytest.raises(TooManyNames):
            web.ask(CLUSTER, "pod-10", unsubscribe=("pod-10",))

    def test_nothing_remains_of_a_closed_stream(self, cache: Cache) -> None:
        web = Delta(cache)
        web.ask(ENDPOINT, "a", "b")
        web.ask(CLUSTER)
        web.session.close()
        assert cache.find(ENDPOINT) is None
        assert cache.find(CLUSTER) is None


class TestUpdate:
    @pytest.mark.parametrize(("type_url", "name"), [("", "a"), (CLUSTER, ""), (CLUSTER, "*")])
    def test_all_or_nothing(self, cache: Cache, type_url: str, name: str) -> None:
        """A resource that cannot be named spoils the whole batch, and says which it is."""
        with pytest.raises(MalformedResource) as caught:
            cache.update(shared=[Resource(CLUSTER, "good", b"1"), Resource(type_url, name, b"1")])
        assert repr(name) in str(caught.value)
        assert cache.version_of(CLUSTER, "good") is None
        assert cache.version == 0

    def test_what_changed_is_told(self, cache: Cache) -> None:
        """The keys of what really changed, for everybody or for a node; given wins over removed."""
        one = Resource(CLUSTER, "a", b"1")
        assert cache.update(shared=[one], remove_shared=[(CLUSTER, "a"), (CLUSTER, "none")]) == {(CLUSTER, "a")}
        assert cache.update(nodes={WEB: NodeUpdate((one,))}) == {(CLUSTER, "a")}
        assert cache.update(nodes={WEB: NodeUpdate((one,), ((CLUSTER, "a"),))}) == frozenset()
        assert cache.sizes == {CLUSTER: 2}
        assert cache.update(remove_nodes=[WEB]) == {(CLUSTER, "a")}
        assert cache.sizes == {CLUSTER: 1}
