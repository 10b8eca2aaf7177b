"""What is claimed over all replicas (SMI-STATUS-05, SMI-STATUS-06): never more than the proxies themselves said."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from smeagol.refs import NodeId, ObjectRef
from smeagol.runtime.progress import Change, Said, Together, View, changes

WEB = ObjectRef("Canary", "shop", "web")
NODES = [NodeId(f"shop/{letter}") for letter in "abcdef"]


def view(name: str, nodes: list[NodeId], *, digest: str = "new", build: str = "1", **said: object) -> View:
    """A replica whose proxies all ask for WEB; connected at moments in the order of the list."""
    about = Said(digest=digest, proxies=len(nodes), **said)  # type: ignore[arg-type]
    return View(name, build, {node: float(number) for number, node in enumerate(nodes)}, {WEB: about})


def test_proxies_of_all_replicas_count() -> None:
    seen = Together([view("a", NODES[:2]), view("b", NODES[2:])]).of(WEB, None)
    assert (seen.proxies, seen.programmed, seen.complete) == (6, 6, True)


def test_proxies_of_a_replica_that_is_behind_lag() -> None:
    """It has not yet seen what we have: that its proxies acknowledged all it sent says nothing of that."""
    seen = Together([view("a", NODES[:2]), view("b", NODES[2:], digest="old")]).of(WEB, None)
    assert (seen.proxies, seen.programmed) == (6, 2)
    assert seen.lagging == tuple(NODES[2:])


def test_a_replica_that_has_not_heard_of_it_is_behind() -> None:
    other = View("b", "1", {NODES[2]: 0.0})
    assert Together([view("a", NODES[:2]), other]).of(WEB, None).lagging == (NODES[2],)


def test_another_build_is_held_to_the_generation() -> None:
    """Version skew of one: it may translate otherwise, so only what users wrote can be compared."""
    ours = view("a", NODES[:2], generation=2)
    assert Together([ours, view("b", NODES[2:], digest="x", build="2", generation=2)]).of(WEB, None).complete
    assert not Together([ours, view("b", NODES[2:], digest="x", build="2", generation=1)]).of(WEB, None).complete


def test_what_has_no_generation_must_be_the_same_in_another_build_too() -> None:
    """The trusted roots (SMI-MTLS-22): while an upgrade rolls, a replica may not know of a new one yet."""
    ours = view("a", NODES[:2])
    assert Together([ours, view("b", NODES[2:], build="2")]).of(WEB, NODES).complete
    assert not Together([ours, view("b", NODES[2:], digest="old", build="2")]).of(WEB, NODES).complete


def test_an_object_is_seen_when_every_replica_has_seen_this_generation() -> None:
    """What its proxies have does not matter there: whoever makes Pods now makes them by this one."""
    ours, other = view("a", NODES[:2], generation=2), view("b", NODES[2:], digest="x", generation=2)
    assert Together([ours, other]).seen(WEB, 2)
    assert not Together([ours, view("b", NODES[2:], generation=1)]).seen(WEB, 2)
    assert not Together([ours, View("b", "1")]).seen(WEB, 2)
    assert not Together([ours, other], ["c"]).seen(WEB, 2)


def test_a_silent_replica_leaves_open_what_its_proxies_have() -> None:
    """Where all that must have it are with others, it does not matter."""
    together = Together([view("a", NODES[:2])], ["b"])
    assert together.of(WEB, None).unknown == ("b",)
    assert together.of(WEB, NODES[:3]).unknown == ("b",)
    assert together.of(WEB, NODES[:2]).complete


def test_the_later_of_two_replicas_speaks_for_a_proxy() -> None:
    """A proxy that has moved is on both for a moment, and counts once."""
    node = NODES[0]
    old = View("a", "1", {node: 1.0}, {WEB: Said(digest="new", proxies=1)})
    new = View("b", "1", {node: 2.0}, {WEB: Said(digest="new", proxies=1, lagging=(node,))})
    for views in ([old, new], [new, old]):
        seen = Together(views).of(WEB, None)
        assert (seen.proxies, seen.lagging) == (1, (node,))


def test_who_refuses_is_told_wherever_it_is() -> None:
    refusing = view("b", NODES[2:3], refused=((NODES[2], "no such filter"),))
    seen = Together([view("a", NODES[:2]), refusing]).of(WEB, None)
    assert [(r.node, r.message) for r in seen.rejections] == [(NODES[2], "no such filter")]
    assert seen.programmed == 2


@st.composite
def said(draw: st.DrawFn, nodes: list[NodeId]) -> Said:
    lagging = draw(st.lists(st.sampled_from(nodes), unique=True)) if nodes else []
    refused = [node for node in nodes if node not in lagging and draw(st.booleans())]
    return Said(
        digest=draw(st.sampled_from(["new", "old"])),
        generation=draw(st.integers(1, 2)),
        proxies=len(nodes),
        lagging=tuple(sorted(lagging)),
        refused=tuple((node, "no") for node in sorted(refused)),
    )


@st.composite
def replicas(draw: st.DrawFn) -> list[View]:
    views = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        nodes = draw(st.lists(st.sampled_from(NODES), unique=True))
        views.append(
            View(
                name,
                draw(st.sampled_from(["1", "1", "2"])),
                {node: draw(st.floats(0, 100)) for node in nodes},
                {WEB: draw(said(nodes))} if draw(st.integers(0, 4)) else {},
            )
        )
    return views


@given(replicas(), st.lists(st.sampled_from(NODES), unique=True))
def test_no_claim_without_the_proxys_own_word(views: list[View], nodes: list[NodeId]) -> None:
    """Complete means of every node that must have it: the replica that speaks for it wants the same as we do, and
    says neither that it lags nor that it refuses.
    """
    wanted = views[0].said.get(WEB)
    if wanted is None or not Together(views).of(WEB, nodes).complete:
        return
    for node in nodes:
        having = [v for v in views if node in v.connected]
        assert having
        latest = max(v.connected[node] for v in having)
        speakers = [v for v in having if v.connected[node] == latest]

        def vouches(each: View, node: NodeId = node) -> bool:
            about = each.said.get(WEB)
            if about is None or node in about.lagging or node in dict(about.refused):
                return False
            same = about.digest == wanted.digest
            return same if each.build == views[0].build else about.generation == wanted.generation

        assert any(vouches(each) for each in speakers)


@given(replicas())
def test_every_connected_proxy_counts_once(views: list[View]) -> None:
    if not all(WEB in each.said for each in views):
        return
    everybody = {node for each in views for node in each.connected}
    seen = Together(views).of(WEB, None)
    assert seen.proxies == len(everybody)
    assert set(seen.lagging) | {r.node for r in seen.rejections} <= everybody


@given(st.lists(replicas(), min_size=1, max_size=5))
def test_changes_carry_one_view_into_the_next(history: list[list[View]]) -> None:
    """Over the wire and back, in any number of messages, also when one is applied twice; nothing new is no message."""
    told, copy = View("", ""), View("", "")
    for after, *_ in history:
        for change in changes(told, after, 200.0):
            again = msgspec.json.decode(msgspec.json.encode(change), type=Change)
            again.apply(copy, 200.0)
            again.apply(copy, 200.0)
        told = after
        assert copy.said == after.said
        assert copy.connected.keys() == after.connected.keys()
        assert not list(changes(told, after, 300.0))


def test_a_newer_replica_may_say_more() -> None:
    raw = b'{"said":[["Canary","shop","web",{"digest":"d","mood":"good"}]],"weather":"fine"}'
    assert msgspec.json.decode(raw, type=Change).said[0][3] == Said(digest="d")
