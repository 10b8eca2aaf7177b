"""What our own proxies have of each object, of the trusted roots and of their certificates: one replica's View."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from smeagol import __version__, control
from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit, UnitKey
from smeagol.pki import Phase
from smeagol.refs import ObjectRef
from smeagol.runtime.mesh import Acknowledged, Mesh
from smeagol.runtime.planner import ResourceKey
from smeagol.runtime.progress import NAMED_AT_MOST, Said, Together, View, owners, say
from smeagol.status import Observation, concerns

__all__ = ["LEAVES", "ROOTS", "acknowledged", "own_view", "roots_told"]

ROOTS = ObjectRef("TrustBundle", "", "roots")
"""No object of the API: the roots that all proxies must trust, told along with the users' objects."""

LEAVES = ObjectRef("Certificates", "", "leaves")
"""That every certificate in use leads to the root that signs."""


def own_view(mesh: Mesh[UnitKey], units: Mapping[UnitKey, Unit], name: str) -> View:
    """As of now. Costs as much as there are objects and proxies."""
    acks = mesh.cache.acks
    said: dict[ObjectRef, Said] = {}
    for unit in units.values():
        if isinstance(unit, CanaryIntent | MutualTLSIntent | SidecarIntent):
            behind = concerns(unit)
            said[unit.ref] = say(
                owners(unit),
                _keys(mesh, behind),
                acks,
                digest=mesh.planner.digest_of(behind),
                generation=unit.generation,
            )
    said[ROOTS] = say(mesh.certified, [mesh.roots], acks, digest=mesh.roots_digest)
    said[LEAVES] = say(mesh.certified, _asked(mesh, mesh.secrets), acks, digest=mesh.leaves_digest)
    connected = {node: since.timestamp() for node, since in acks.connected.items()}
    return View(name=name, build=__version__, connected=connected, said=said)


def acknowledged(mesh: Mesh[UnitKey], replicas: Together) -> Acknowledged:
    """Counts each proxy that has certificates, whether it is connected or not: one that is not may have old ones."""
    nodes = tuple(mesh.certified)
    return Acknowledged(
        roots=replicas.of(ROOTS, nodes).complete,
        leaves=bool(mesh.leaves_digest) and replicas.of(LEAVES, nodes).complete,
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


def _keys(mesh: Mesh[UnitKey], behind: Iterable[UnitKey]) -> Iterable[ResourceKey]:
    for key in behind:
        yield from mesh.planner.resources_of(key)
        yield from _asked(mesh, mesh.secrets_of(key))


def _asked(mesh: Mesh[UnitKey], secrets: Iterable[ResourceKey]) -> Iterable[ResourceKey]:
    """A proxy asks for a secret when something refers to it; one that nothing refers to is not missing."""
    acks = mesh.cache.acks
    return (key for key in secrets if key.node and acks.standing(key.node, key.type_url, key.name) is not None)
