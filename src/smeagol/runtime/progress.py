"""What the proxies of each replica have of each object, and what that comes to over all replicas. Pure.

Each replica says of each object what its own proxies say of the resources that stand for it, and under which digest of
these resources. A proxy is with one replica, or for a moment with two: then the later one speaks for it. A replica
whose digest is another one is behind, or ahead: its proxies have something else, so they lag. A replica that does not
answer leaves open what its proxies have, and nobody may claim it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from smeagol.intent import CanaryIntent
from smeagol.refs import NodeId, ObjectRef, PodRef
from smeagol.status import ObjectUnit, Observation, Rejection, concerns
from smeagol.xds import Reach

__all__ = ["NAMED_AT_MOST", "Change", "Said", "Together", "View", "changes", "owners", "say"]

NAMED_AT_MOST = 50
"""Nodes that lag or refuse, named for each object; the others are counted."""

IN_ONE_CHANGE = 1_000
"""Objects and nodes that one message tells of: some hundred kilobytes."""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the proxies of one replica say of one object.

    `digest`: of what the replica wants them to have. `generation`: of the object it has seen. `proxies`: how many it
    concerns. Lagging and refusing nodes are in alphabetical order; `more_lagging` counts those not named.
    """

    digest: str
    generation: int = 0
    proxies: int = 0
    lagging: tuple[str, ...] = ()
    more_lagging: int = 0
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class View:
    """One replica. `connected`: its proxies, and since when on the reader's own clock. `build`: its version."""

    name: str
    build: str
    connected: dict[NodeId, float] = field(default_factory=dict)
    said: dict[ObjectRef, Said] = field(default_factory=dict)


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What has changed of a View, as it crosses the wire: unknown fields are passed over, so either side may be newer.

    `connected`: for how many seconds, since no two hosts' clocks are compared. Objects are (kind, namespace, name).
    `whole`: all that there was at the beginning has been told; before that, nothing must be concluded.
    """

    name: str = ""
    build: str = ""
    connected: dict[str, float] = {}
    gone: tuple[str, ...] = ()
    said: tuple[tuple[str, str, str, Said], ...] = ()
    forgotten: tuple[tuple[str, str, str], ...] = ()
    whole: bool = False

    def apply(self, view: View, now: float) -> None:
        """Bring `view` up to date; a change may be applied twice."""
        view.name = self.name or view.name
        view.build = self.build or view.build
        view.connected.update({NodeId(node): now - age for node, age in self.connected.items()})
        for node in self.gone:
            view.connected.pop(NodeId(node), None)
        view.said.update({ObjectRef(kind, namespace, name): said for kind, namespace, name, said in self.said})
        for ref in self.forgotten:
            view.said.pop(ObjectRef(*ref), None)


def changes(before: View, after: View, now: float) -> Iterable[Change]:
    """What turns `before` into `after`, in messages of bounded size; none if there is nothing to tell."""
    connected = [(n, max(0.0, now - s)) for n, s in after.connected.items() if before.connected.get(n) != s]
    gone = [node for node in before.connected if node not in after.connected]
    said = [(r.kind, r.namespace, r.name, s) for r, s in after.said.items() if before.said.get(r) != s]
    forgotten = [(r.kind, r.namespace, r.name) for r in before.said if r not in after.said]
    while connected or gone or said or forgotten:
        yield Change(
            connected=dict(connected[:IN_ONE_CHANGE]),
            gone=tuple(gone[:IN_ONE_CHANGE]),
            said=tuple(said[:IN_ONE_CHANGE]),
            forgotten=tuple(forgotten[:IN_ONE_CHANGE]),
        )
        for told in (connected, gone, said, forgotten):
            del told[:IN_ONE_CHANGE]


# What one replica says -----------------------------------------------------------------------------------------------


def owners(unit: ObjectUnit) -> tuple[NodeId, ...] | None:
    """The nodes that must have an object; None if all that are connected must."""
    if isinstance(unit, CanaryIntent):
        return None
    return tuple(PodRef(key.namespace, key.name).node for key in concerns(unit))


def say(
    nodes: Collection[NodeId] | None,
    reach: Reach,
    lacking: Mapping[NodeId, str | None],
    connected: Container[NodeId],
    *,
    digest: str,
    generation: int = 0,
) -> Said:
    """What those among `nodes` that are connected say, or all that `reach` counts, which is about what they share.
    `lacking`: who lacks something of its own; with its own words, if it refuses it.
    """
    refused = {node: nack.message for node, nack in reach.refused.items()}
    refused |= {node: words for node, words in lacking.items() if words is not None}
    lagging = (reach.lagging | lacking.keys()) - refused.keys()
    return Said(
        digest=digest,
        generation=generation,
        proxies=reach.proxies if nodes is None else sum(1 for node in nodes if node in connected),
        lagging=tuple(sorted(lagging)[:NAMED_AT_MOST]),
        more_lagging=max(0, len(lagging) - NAMED_AT_MOST),
        refused=tuple(sorted(refused.items())[:NAMED_AT_MOST]),
    )


# What that comes to --------------------------------------------------------------------------------------------------


class Together:
    """All replicas at one moment. `views[0]` is our own, by whose digests the others are judged.

    `silent`: replicas that serve proxies and do not answer.
    """

    def __init__(self, views: Sequence[View], silent: Sequence[str] = ()) -> None:
        self._own = views[0]
        self._views = views
        self._silent = tuple(silent)
        self._speaker: dict[NodeId, View] = {}
        for view in views:
            for node, since in view.connected.items():
                other = self._speaker.get(node)
                if other is None or other.connected[node] < since:
                    self._speaker[node] = view

    def of(self, ref: ObjectRef, nodes: Sequence[NodeId] | None) -> Observation:
        """What is known of an object. `nodes`: who must have it; None for all proxies that are connected."""
        wanted = self._own.said.get(ref)
        if wanted is None:
            return Observation(unknown=self._silent)
        parts = [self._part(view, view.said.get(ref), wanted, nodes) for view in self._views]
        rejections = {rejection.node: rejection for part in parts for rejection in part.rejections}
        lagging = {node for part in parts for node in part.lagging}
        absent = {node for node in nodes or () if node not in self._speaker}
        return Observation(
            proxies=sum(part.proxies for part in parts) if nodes is None else len(set(nodes)),
            lagging=tuple(sorted((lagging | absent) - rejections.keys())),
            more_lagging=sum(part.more_lagging for part in parts),
            rejections=tuple(sorted(rejections.values())),
            unknown=self._silent if nodes is None or absent else (),
        )

    def wants(self, ref: ObjectRef, digest: str) -> bool:
        """Whether what was said of an object is of what we want now, and not of what we wanted before."""
        wanted = self._own.said.get(ref)
        return wanted is not None and wanted.digest == digest

    def seen(self, ref: ObjectRef, generation: int) -> bool:
        """Whether every replica has seen an object as it is now. One that does not answer is not known to have."""
        said = (view.said.get(ref) for view in self._views)
        return not self._silent and all(known is not None and known.generation == generation for known in said)

    def _speaks(self, view: View, node: NodeId) -> bool:
        return self._speaker.get(node) is view

    def _part(self, view: View, said: Said | None, wanted: Said, nodes: Sequence[NodeId] | None) -> Observation:
        if said is not None and _same(said, wanted, self._own.build == view.build):
            return Observation(
                proxies=said.proxies - (self._doubled[view.name] if said.proxies == len(view.connected) else 0),
                lagging=tuple(node for n in said.lagging if self._speaks(view, node := NodeId(n))),
                more_lagging=said.more_lagging,
                rejections=tuple(Rejection(n, m) for name, m in said.refused if self._speaks(view, n := NodeId(name))),
            )
        # It has seen less than we, or more: what its proxies have is not what we want them to have.
        behind = sorted(n for n in (view.connected if nodes is None else set(nodes)) if self._speaks(view, n))
        if nodes is None and not wanted.proxies and (said is None or not said.proxies):
            behind = []  # nobody has asked for it anywhere
        named = tuple(behind[:NAMED_AT_MOST])
        return Observation(proxies=len(behind), lagging=named, more_lagging=len(behind) - len(named))

    @cached_property
    def _doubled(self) -> dict[str, int]:
        """How many proxies of each replica are with a later one already."""
        return {v.name: sum(1 for node in v.connected if not self._speaks(v, node)) for v in self._views}


def _same(said: Said, wanted: Said, same_build: bool) -> bool:
    """Whether a replica wants the same of its proxies as we do. Another version of Smeagol may translate otherwise, so
    while an upgrade rolls, having seen the same generation is enough; not so of what has none (the roots)."""
    if same_build or not wanted.generation:
        return said.digest == wanted.digest
    return said.generation == wanted.generation
