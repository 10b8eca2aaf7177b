"""What our own proxies have of each object, of the trusted roots and of their certificates: one replica's View.

Only what has changed is looked at again: a thousand proxies that take over the endpoints of one Service say nothing new
of the objects that have nothing to do with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from smeagol import __version__, control
from smeagol.intent import Unit, UnitKey, UnitKind
from smeagol.pki import Phase
from smeagol.refs import NodeId, ObjectRef, PodRef
from smeagol.runtime.mesh import Acknowledged, Mesh
from smeagol.runtime.planner import ResourceKey
from smeagol.runtime.progress import NAMED_AT_MOST, Said, Together, View, owners, say
from smeagol.status import ObjectUnit, Observation, concerns
from smeagol.xds import AckChanges, Nack, Standing
from smeagol.xds.cache import Key

__all__ = ["LEAVES", "ROOTS", "OwnView", "acknowledged", "roots_told"]

ROOTS = ObjectRef("TrustBundle", "", "roots")
"""No object of the API: the roots that all proxies must trust, told along with the users' objects."""

LEAVES = ObjectRef("Certificates", "", "leaves")
"""That every certificate in use leads to the root that signs."""

T = TypeVar("T")


@dataclass(slots=True)
class _Part:
    """A unit whose resources stand for `objects`: those that all proxies share, and those of single proxies.

    `lacking`: who of the latter lacks something of its own; with its own words, if it refuses it.
    """

    objects: set[UnitKey] = field(default_factory=set)
    shared: tuple[Key, ...] = ()
    own: dict[NodeId, list[ResourceKey]] = field(default_factory=dict)
    lacking: dict[NodeId, str | None] = field(default_factory=dict)


class OwnView:
    """Follows one mesh: tell it what changes, and `look`."""

    def __init__(self, mesh: Mesh[UnitKey], name: str) -> None:
        self._mesh = mesh
        self._acks = mesh.cache.acks
        self._view = View(name, __version__)
        self._refs: dict[UnitKey, ObjectRef] = {}
        self._behind: dict[UnitKey, tuple[UnitKey, ...]] = {}  # of each object
        self._parts: dict[UnitKey, _Part] = {}
        self._sharing: dict[Key, set[UnitKey]] = defaultdict(set)  # the parts with a resource that all proxies share
        self._owning: dict[NodeId, set[UnitKey]] = defaultdict(set)  # the parts with anything of one proxy's own
        self._old_leaves: dict[NodeId, str | None] = {}  # who lacks a certificate, as `_Part.lacking`
        # What was noted, and not looked at.
        self._units: set[UnitKey] = set()
        self._keys: set[Key] = set()
        self._nodes: set[NodeId] = set(self._acks.connected)
        self._everything = True

    def note_units(self, changed: Iterable[UnitKey]) -> None:
        """These were carried out, or are gone."""
        self._units.update(changed)

    def note_answers(self, changes: AckChanges) -> None:
        self._keys |= changes.keys
        self._nodes |= changes.nodes
        self._everything |= changes.everything

    def look(self, units: Mapping[UnitKey, Unit]) -> View:
        """All of it, as of what was noted; not to be changed. Costs as much as what was noted since the last time, and
        as there are proxies of the objects concerned.
        """
        changed, self._units = self._units, set()
        keys, self._keys = self._keys, set()
        nodes, self._nodes = self._nodes, set()
        everything, self._everything = self._everything, False
        if not (changed or keys or nodes or everything):
            return self._view

        stale = self._carried_out(changed, units)
        for node in nodes:
            for key in self._owning.get(node, ()):
                self._ask(self._parts[key], node)
                stale |= self._parts[key].objects
        shared = self._sharing if everything else keys & self._sharing.keys()
        for resource in shared:
            for key in self._sharing[resource]:
                stale |= self._parts[key].objects
        said = dict(self._view.said)
        for key in stale:
            unit = units.get(key)
            if isinstance(unit, ObjectUnit):
                said[unit.ref] = self._say(key, unit)
            else:
                said.pop(self._refs.pop(key), None)
        roots = self._mesh.roots
        if everything or nodes or changed or (roots.type_url, roots.name) in keys:
            said |= self._certificates(nodes)
        connected = {node: since.timestamp() for node, since in self._acks.connected.items()}
        self._view = View(name=self._view.name, build=self._view.build, connected=connected, said=said)
        return self._view

    def _carried_out(self, changed: set[UnitKey], units: Mapping[UnitKey, Unit]) -> set[UnitKey]:
        """Follow what has become of units; the objects that it concerns."""
        stale: set[UnitKey] = set()
        for key in changed & self._parts.keys():
            self._read(key)
            stale |= self._parts[key].objects
        for key in changed:
            unit = units.get(key)
            if isinstance(unit, ObjectUnit):
                self._refs[key] = unit.ref
                self._stand_behind(key, concerns(unit))
                stale.add(key)
            elif key in self._refs:
                self._stand_behind(key, ())
                stale.add(key)
        return stale

    def _stand_behind(self, key: UnitKey, behind: tuple[UnitKey, ...]) -> None:
        """From now on these units, and no others, stand for an object."""
        before, after = set(self._behind.pop(key, ())), set(behind)
        if behind:
            self._behind[key] = behind
        for gone in before - after:
            part = self._parts[gone]
            part.objects.discard(key)
            if not part.objects:
                self._forget(gone, part)
                del self._parts[gone]
        for new in after - before:
            if new not in self._parts:
                self._parts[new] = _Part()
                self._read(new)
            self._parts[new].objects.add(key)

    def _read(self, key: UnitKey) -> None:
        """What there is of one unit now, and how far the proxies are with what is their own."""
        part = self._parts[key]
        self._forget(key, part)
        resources = (*self._mesh.planner.resources_of(key), *self._mesh.secrets_of(key))
        part.shared = tuple((each.type_url, each.name) for each in resources if each.node is None)
        part.own = {PodRef(key.namespace, key.name).node: []} if key.kind is UnitKind.WORKLOAD else {}
        for each in resources:
            if each.node is not None:
                part.own.setdefault(each.node, []).append(each)
        part.lacking = {}
        for resource in part.shared:
            self._sharing[resource].add(key)
        for node in part.own:
            self._owning[node].add(key)
            self._ask(part, node)

    def _forget(self, key: UnitKey, part: _Part) -> None:
        for resource in part.shared:
            _drop(self._sharing, resource, key)
        for node in part.own:
            _drop(self._owning, node, key)

    def _ask(self, part: _Part, node: NodeId) -> None:
        _set(part.lacking, node, self._lacks(node, part.own[node]))

    def _lacks(self, node: NodeId, resources: Iterable[ResourceKey]) -> tuple[bool, str | None]:
        """Whether a connected proxy lacks one of these; with its own words, if it refuses it."""
        lacks, words = False, None
        if node in self._acks.connected:
            for each in resources:
                standing = self._acks.standing(node, each.type_url, each.name)
                if isinstance(standing, Nack):
                    lacks, words = True, standing.message
                elif standing is None and each.type_url == self._mesh.roots.type_url:
                    continue  # a secret is asked for when something refers to it; else it is not missing
                elif standing is not Standing.CURRENT:  # what it has not asked for yet it does not have either
                    lacks = True
        return lacks, words

    def _say(self, key: UnitKey, unit: ObjectUnit) -> Said:
        behind = self._behind.get(key, ())
        parts = [self._parts[each] for each in behind]
        return say(
            owners(unit),
            self._acks.reach(dict.fromkeys(resource for part in parts for resource in part.shared)),
            {node: words for part in parts for node, words in part.lacking.items()},
            self._acks.connected,
            digest=self._mesh.planner.digest_of(behind),
            generation=unit.generation,
        )

    def _certificates(self, nodes: Iterable[NodeId]) -> dict[ObjectRef, Said]:
        """Of all trusted roots, and of all certificates, after those of `nodes` were asked about again."""
        mesh, connected = self._mesh, self._acks.connected
        for node in nodes:
            _set(self._old_leaves, node, self._lacks(node, mesh.secrets_at(node)))
        certified = mesh.certified
        roots = self._acks.reach([(mesh.roots.type_url, mesh.roots.name)])
        return {
            ROOTS: say(certified, roots, {}, connected, digest=mesh.roots_digest),
            LEAVES: say(certified, self._acks.reach(()), self._old_leaves, connected, digest=mesh.leaves_digest),
        }


def _set(lacking: dict[NodeId, str | None], node: NodeId, lacks: tuple[bool, str | None]) -> None:
    if lacks[0]:
        lacking[node] = lacks[1]
    else:
        lacking.pop(node, None)


def _drop(sets: dict[T, set[UnitKey]], of: T, key: UnitKey) -> None:
    sets[of].discard(key)
    if not sets[of]:
        del sets[of]


def acknowledged(mesh: Mesh[UnitKey], replicas: Together) -> Acknowledged:
    """Counts each proxy that has certificates, whether it is connected or not: one that is not may have old ones."""
    nodes = tuple(mesh.certified)
    return Acknowledged(
        roots=replicas.of(ROOTS, nodes).complete and replicas.wants(ROOTS, mesh.roots_digest),
        leaves=not nodes  # nothing says anew who signs where nothing is signed
        or (
            bool(mesh.leaves_digest)
            and replicas.of(LEAVES, nodes).complete
            and replicas.wants(LEAVES, mesh.leaves_digest)
        ),
    )


def roots_told(mesh: Mesh[UnitKey], replicas: Together) -> control.Roots:
    """How the roots stand, and who keeps them from the next phase."""
    state = mesh.root_state
    waited = {Phase.INTRODUCING: ROOTS, Phase.RETIRING: LEAVES}.get(state.phase)
    seen = replicas.of(waited, tuple(mesh.certified)) if waited is not None else Observation()
    named = (*seen.lagging, *(rejection.node for rejection in seen.rejections))
    return control.Roots(
        phase=state.phase.value,
        since=state.since.isoformat(timespec="seconds"),
        trusted=tuple(
            control.Root(id=root.id, expires=root.expires.isoformat(timespec="seconds"), signs=root.id == state.signer)
            for root in state.trusted
        ),
        waiting_for=named[:NAMED_AT_MOST],
        more_waiting=seen.more_lagging + max(0, len(named) - NAMED_AT_MOST),
        silent=seen.unknown,
        hurried=state.hurried,
        problem=mesh.problem,
    )
