"""From changed units to what the proxies hold: plans, certificates and the xDS cache, kept in step.

`carry_out` is called when units changed, `tend` when time has passed or a proxy has answered. Only the key store is
waited for, in a thread of its own: it may be an API server that is away.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Generic, TypeVar

import structlog

from smeagol.errors import SmeagolError
from smeagol.intent import MeshIntent, Unit, WorkloadIntent
from smeagol.pki import (
    LEAF_LIFETIME,
    AuthorityError,
    KeptAuthority,
    Phase,
    RootState,
    Step,
    last_expiry,
)
from smeagol.plan import CertificateRequest, ProxyProvider, ProxyResource
from smeagol.refs import NodeId
from smeagol.runtime.certificates import Certificates
from smeagol.runtime.dialled import Dialled
from smeagol.runtime.planner import Planner, ResourceKey
from smeagol.xds import Cache, NodeUpdate, Resource

__all__ = ["Acknowledged", "Mesh"]

log = structlog.get_logger(__name__)

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the proxies of all replicas hold: `roots`, all that are trusted now; `leaves`, none of a root that no longer
    signs."""

    roots: bool = False
    leaves: bool = False


class Mesh(Generic[K]):
    """One control plane's view of the data plane. `K` is the resolver's unit key."""

    def __init__(
        self,
        *,
        provider: ProxyProvider,
        authority: KeptAuthority,
        mesh: MeshIntent,
        clock: Callable[[], datetime],
        alone: bool = True,
    ) -> None:
        """`alone`: no other control plane of this mesh has proxies. If one may, a root is replaced as `elsewhere` says,
        which knows what the proxies of all have acknowledged, or as time says where nobody knows.
        """
        self.provider = provider
        self.intent = mesh
        self.cache = Cache(fallback=self._on_demand, clock=clock)
        self.planner: Planner[K] = Planner(provider)
        self.certificates = Certificates(authority=authority, provider=provider, clock=clock)
        self._authority = authority
        self._clock = clock
        self._alone = alone
        self.problem = ""
        """why the authority's keys could not be seen to at the last tending; what was last good signs"""
        self.elsewhere: Callable[[], Acknowledged] | None = None
        self._bundle: ProxyResource = provider.trust_bundle(authority.trust_bundle_pem)
        self._rotate_root = False
        self._ends: dict[str, tuple[K, WorkloadIntent]] = {}
        self._addresses: dict[K, tuple[str, ...]] = {}
        self._dialled = Dialled(self._is_asked_for)
        self._publish([self._bundle], [])

    def carry_out(self, changed: Iterable[K], units: Mapping[K, Unit]) -> None:
        """Bring the proxies' configuration in line with the units that changed; one atomic step for each proxy."""
        changed = tuple(changed)
        moved = self._note_addresses(changed, units)
        delta = self.planner.update(changed, units)
        secrets = self.certificates.want(delta.wanted)
        gone = [
            ResourceKey(request.node, self._bundle.type_url, request.secret)
            for request in self.certificates.forget(delta.unwanted)
        ]
        self._publish([*delta.upserts, *secrets], [*delta.removals, *gone])
        self._answer_again(moved)

    async def tend(self) -> None:
        """Renew what is due and take the next step of a root rotation, if there is one. Cheap when nothing is due."""
        self._publish(self.certificates.renew(), [])
        signer = self._authority.state.signer
        step = Step.WAIT
        failure: SmeagolError | None = None
        try:
            step = await asyncio.to_thread(
                self._authority.maintain,
                now=self._clock(),
                bundle_acknowledged=self._bundle_acknowledged,
                last_old_leaf_expiry=self._last_old_leaf(),
                rotate_root=self._rotate_root,
            )
        except SmeagolError as error:
            failure = error  # what another control plane has done since is followed all the same
        self.problem = str(failure or "")
        if step is Step.BEGIN:
            self._rotate_root = False
        if step is not Step.WAIT:
            log.info("root rotation", step=step.name.lower())
        bundle = self.provider.trust_bundle(self._authority.trust_bundle_pem)
        if bundle != self._bundle:
            self._bundle = bundle
            self._publish([bundle], [])
        if self._authority.state.signer != signer:  # by our step, or that of another control plane
            self._publish(self.certificates.renew_all(), [])
        if failure is not None:
            raise failure

    def next_tending(self) -> datetime | None:
        """When `tend` must be called at the latest, proxies' answers aside."""
        upkeep = self._authority.next_maintenance(
            bundle_acknowledged=self._bundle_acknowledged, last_old_leaf_expiry=self._last_old_leaf()
        )
        return min(filter(None, (upkeep, self.certificates.next_due())), default=None)

    def rotate_root(self) -> None:
        """Begin a root rotation at the next tending; the old root stays trusted until nothing depends on it.

        Raises AuthorityError if the root is not ours to replace.
        """
        if not self._authority.is_own:
            raise AuthorityError(
                "the root was made elsewhere, and is replaced there",
                fix="hand over an intermediate of the new root; the rest follows",
            )
        self._rotate_root = True

    def renew_certificates(self) -> int:
        """Issue every leaf anew; returns how many."""
        made = self.certificates.renew_all()
        self._publish(made, [])
        return len(made)

    # What the proxies are asked about.

    def secrets_of(self, key: K) -> tuple[ResourceKey, ...]:
        """The certificates of one unit's proxy, as resources."""
        plan = self.planner.plans.get(key)
        return tuple(self._secret(request) for request in plan.certificates) if plan is not None else ()

    def secrets_at(self, node: NodeId) -> tuple[ResourceKey, ...]:
        """The certificates of one proxy that are in use, as resources."""
        return tuple(self._secret(issued.request) for issued in self.certificates.of(node).values())

    def _secret(self, request: CertificateRequest) -> ResourceKey:
        return ResourceKey(request.node, self._bundle.type_url, request.secret)

    @property
    def certified(self) -> Collection[NodeId]:
        """The proxies that have certificates, whether they are connected or not."""
        return self.certificates.nodes

    @property
    def roots(self) -> ResourceKey:
        """The trusted roots, as a resource."""
        return ResourceKey(None, self._bundle.type_url, self._bundle.name)

    @property
    def roots_digest(self) -> str:
        return blake2b(self._bundle.body, digest_size=12).hexdigest()

    @property
    def leaves_digest(self) -> str:
        """The root that signs, if all certificates lead to it."""
        signer = self._authority.state.signer
        return signer if all(issued.root == signer for issued in self.certificates.in_use) else ""

    @property
    def root_state(self) -> RootState:
        return self._authority.state

    @property
    def rotating(self) -> bool:
        return self._rotate_root or self._authority.state.phase is not Phase.STEADY

    @property
    def settled(self) -> bool:
        """Every connected proxy has answered for everything it was sent."""
        return all(self._settled(node) for node in self.cache.acks.connected)

    def _note_addresses(self, changed: Iterable[K], units: Mapping[K, Unit]) -> set[str]:
        """Keep which addresses end mutual TLS, for clients that dial them without a Service; returns those where that
        is now otherwise, at some port.
        """
        before: dict[str, tuple[int, ...] | None] = {}
        for key in changed:
            for address in self._addresses.pop(key, ()):
                if (found := self._ends.get(address)) is not None and found[0] == key:
                    before[address] = found[1].passed_ports
                    del self._ends[address]
        for key in changed:
            unit = units.get(key)
            if isinstance(unit, WorkloadIntent) and unit.mode is not None:
                self._addresses[key] = unit.addresses
                for address in unit.addresses:
                    before.setdefault(address, self._passed(address))
                    self._ends[address] = key, unit
        return {address for address, passed in before.items() if passed != self._passed(address)}

    def _passed(self, address: str) -> tuple[int, ...] | None:
        """The ports of an address that pass by its proxy; None where none ends mutual TLS."""
        return found[1].passed_ports if (found := self._ends.get(address)) is not None else None

    def _answer_again(self, moved: Iterable[str]) -> None:
        """Correct what proxies were told on demand of these addresses.

        Putting an answer wakes those who asked; the fallback makes the same from then on, so it need not stay.
        """
        keys = {key for address in moved for key in self._dialled.take(address)}
        answers = [
            answer
            for key in keys
            if not self.planner.holds(ResourceKey(None, *key)) and (answer := self._on_demand(*key)) is not None
        ]
        self.cache.update(shared=answers)
        self.cache.update(remove_shared=[(answer.type_url, answer.name) for answer in answers])

    def _is_asked_for(self, key: tuple[str, str]) -> bool:
        collection = self.cache.find(key[0])
        return collection is not None and key[1] in collection.watchers

    @property
    def _bundle_acknowledged(self) -> bool:
        """Does every connected proxy hold the roots that are trusted now?"""
        if not self._alone:
            return self.elsewhere is not None and self.elsewhere().roots
        return self.cache.acks.of(self._bundle.type_url, self._bundle.name).complete

    def _last_old_leaf(self) -> datetime | None:
        """Until when a leaf of a root that no longer signs may be in use: renewed ones count until acknowledged."""
        state = self._authority.state
        if not self._alone:
            known = self.elsewhere is not None and self.elsewhere().leaves
            return None if known else state.since + LEAF_LIFETIME
        if self.settled:
            return last_expiry(self.certificates.in_use, state)
        return max((issued.not_after for issued in self.certificates.in_use), default=None)

    def _settled(self, node: NodeId) -> bool:
        progress = self.cache.acks.of_node(node)
        return progress is None or progress.settled

    def _publish(self, upserts: Iterable[ProxyResource], removals: Iterable[ResourceKey]) -> None:
        put: dict[NodeId, list[Resource]] = defaultdict(list)
        remove: dict[NodeId, list[tuple[str, str]]] = defaultdict(list)
        shared: list[Resource] = []
        remove_shared: list[tuple[str, str]] = []
        for resource in upserts:
            made = Resource(resource.type_url, resource.name, resource.body, resource.on_demand)
            (shared if resource.node is None else put[resource.node]).append(made)
        for key in removals:
            (remove_shared if key.node is None else remove[key.node]).append((key.type_url, key.name))
        self.cache.update(
            shared=shared,
            remove_shared=remove_shared,
            nodes={node: NodeUpdate(put=tuple(put[node]), remove=tuple(remove[node])) for node in {*put, *remove}},
        )

    def _on_demand(self, type_url: str, name: str) -> Resource | None:
        def meshed(address: str, port: int) -> bool:
            self._dialled.note(address, (type_url, name))
            passed = self._passed(address)
            return passed is not None and port not in passed

        answer = self.provider.on_demand(type_url, name, self.intent, meshed)
        if answer is None:
            return None
        return Resource(answer.type_url, answer.name, answer.body, on_demand=True)
