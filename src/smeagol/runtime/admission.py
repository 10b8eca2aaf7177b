"""The webhooks of a control plane in a cluster: every replica answers them, the leader tells the API server of them.

What the leader keeps: the two webhook configurations, and in each namespace of the mesh the ConfigMap from which
proxies learn whom to trust. All follow from the state: whatever somebody changes or deletes of them comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.infra.kubernetes.objects import Applied
from smeagol.install.access import CONTROLLER, is_the_leaders
from smeagol.intent import INJECT_LABEL, CanaryIntent, MutualTLSIntent, SidecarIntent, Unit, UnitKey, WorkloadIntent
from smeagol.intent.selection import Inject
from smeagol.objects import Namespace
from smeagol.pki import LocalAuthority, Purpose
from smeagol.plan import JSON, ProxyProvider
from smeagol.plan.peer import PeerKind
from smeagol.runtime.control_plane import ControlPlane, now
from smeagol.runtime.web import listening
from smeagol.sources.kubernetes import Backoff
from smeagol.webhook import (
    InjectionReview,
    InjectionSettings,
    KeyPair,
    Reviews,
    ServingCertificate,
    ValidationReview,
    WebhookPlace,
    bootstrap_template,
    foresee,
    mutating_configuration,
    serve,
    trust_config_map,
    validating_configuration,
    webhook_app,
)
from smeagol.webhook.inject import TRUST_CONFIG_MAP

__all__ = ["CLUSTER_ROLES", "Admission", "AdmissionSettings", "MeshNamespaces", "owned_by"]

log = structlog.get_logger(__name__)

RESYNC_SECONDS = 30.0
"""How long what somebody has changed of the kept objects stays changed."""

RETRY_SECONDS = 1.0
"""Until what failed is tried again, at first: Pods wait for these objects, and API servers are seldom away for long."""

_REGISTRATION = "admissionregistration.k8s.io/v1"
MUTATING = PeerKind(_REGISTRATION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False)
VALIDATING = PeerKind(
    _REGISTRATION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False
)
CLUSTER_ROLES = PeerKind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False)
CONFIG_MAPS = PeerKind("v1", "ConfigMap", "configmaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """`address`: where the webhooks listen, `host:port`."""

    injection: InjectionSettings
    place: WebhookPlace
    address: str = "[::]:9443"


@dataclass(slots=True)
class MeshNamespaces:
    """The namespaces in which Pods have a proxy, or may get one: kept in step with changes, never computed anew."""

    _reasons: dict[UnitKey, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _labelled: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)
    """In which Pods may still run, and nothing can be made."""

    def note_units(self, changed: Iterable[UnitKey], units: Mapping[UnitKey, Unit]) -> None:
        for key in changed:
            if (before := self._reasons.pop(key, None)) is not None:
                self._counts[before] -= 1
                if not self._counts[before]:
                    del self._counts[before]
            if _asks_for_proxies(units.get(key)):
                self._reasons[key] = key.namespace
                self._counts[key.namespace] += 1

    def note_namespace(self, name: str, namespace: Namespace | None) -> bool:
        """Whether its label says something else than before, or it has begun to end."""
        before = name in self._labelled, name in self.ending
        self._labelled.discard(name)
        self.ending.discard(name)
        if namespace is not None and namespace.metadata.labels.get(INJECT_LABEL) == Inject.ENABLED.value:
            self._labelled.add(name)
        if namespace is not None and namespace.metadata.deletion_timestamp:
            self.ending.add(name)
        return before != (name in self._labelled, name in self.ending)

    @property
    def names(self) -> frozenset[str]:
        """Without those that are ending."""
        return frozenset((self._counts.keys() | self._labelled) - self.ending)


def _asks_for_proxies(unit: Unit | None) -> bool:
    match unit:
        case WorkloadIntent():
            return True
        case MutualTLSIntent():
            return unit.enforced
        case SidecarIntent():
            return unit.accepted
        case CanaryIntent():
            return unit.accepted and unit.root_proxies > 0
        case _:
            return False


class Admission:
    """`serve` on every replica, `keep` on the one that leads."""

    def __init__(
        self, plane: ControlPlane, settings: AdmissionSettings, *, provider: ProxyProvider, own: LocalAuthority
    ) -> None:
        """`own`: by which the control plane is known, whoever signs for the mesh."""
        self.namespaces = MeshNamespaces()
        self.reviews = Reviews()
        self.injection = settings.injection
        self._plane = plane
        self._own = own
        self._settings = settings
        self._news = asyncio.Event()
        self._strangers: frozenset[str] = frozenset()
        self._certificate = ServingCertificate(self._issue, clock=now)
        self.bootstrap = bootstrap = bootstrap_template(provider, plane.mesh.intent, settings.injection)
        self._app = webhook_app(
            inject=InjectionReview(settings.injection, decide=plane.resolver.injection_for, bootstrap=bootstrap),
            inject_labelled=InjectionReview(
                settings.injection, decide=plane.resolver.containers_for, bootstrap=bootstrap
            ),
            validate=ValidationReview(partial(foresee, plane.resolver)),
            reviews=self.reviews,
        )

    def settled(self, changed: Iterable[UnitKey]) -> None:
        """To be called after each settle with the units that changed."""
        before = self.namespaces.names
        self.namespaces.note_units(changed, self._plane.resolver.units)
        if self.namespaces.names != before:
            self._news.set()

    def note_namespace(self, name: str, namespace: Namespace | None) -> None:
        """To be called for each namespace that comes, changes, or goes (then None)."""
        if self.namespaces.note_namespace(name, namespace):
            self._news.set()

    def follow_roots(self) -> None:
        """To be called when the roots have changed, or the one that signs. Raises SmeagolError."""
        self._news.set()
        self._certificate.renew()

    async def serve(self, started: asyncio.Event) -> None:
        """Answer until cancelled; `started` is set once reviews can come. Raises AddressTakenError."""
        with listening(self._settings.address) as bound:
            started.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._certificate.keep_fresh())
                tasks.create_task(serve(self._app, [bound], self._certificate.context))

    async def keep(self, keeper: Keeper) -> None:
        """Keep what the API server and the proxies must have, until cancelled."""
        owner = ""
        backoff = Backoff(first=RETRY_SECONDS, most=RESYNC_SECONDS)
        while True:
            self._news.clear()
            bundle = self._own.trust_bundle_pem
            place = self._settings.place
            # Once it was there it stays the owner: what is made after it has gone goes too.
            owner = await keeper.uid(CLUSTER_ROLES, CONTROLLER) or owner
            owners: list[JSON] = [owned_by(owner)] if owner else []
            asking = await keeper.apply(MUTATING, mutating_configuration(place, bundle, owners), uid=None)
            warning = await keeper.apply(VALIDATING, validating_configuration(place, bundle, owners), uid=None)
            trusted = await self._keep_trust(keeper, bundle, self._plane.authority.trust_bundle_pem)
            complete = isinstance(asking, Applied) and isinstance(warning, Applied) and trusted
            if complete:
                backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESYNC_SECONDS if complete else backoff.wait()):
                    await self._news.wait()

    async def _keep_trust(self, keeper: Keeper, own: bytes, mesh: bytes) -> bool:
        """One ConfigMap in each namespace of the mesh, and none that we have made elsewhere; False if it must be tried
        again. Somebody else's of that name stays as it is: Pods of its namespace wait for theirs, and are told why. In
        a namespace that ends nothing can be made, and what is there serves its Pods until the end.
        """
        there = await keeper.named(CONFIG_MAPS, TRUST_CONFIG_MAP)
        if there is None:
            return False
        complete = True
        wanted = self.namespaces.names
        self._name_strangers(
            frozenset(name for name in wanted if name in there and not is_the_leaders(there[name].metadata.labels))
        )
        for namespace in sorted(wanted - self._strangers):
            config_map, kept = trust_config_map(namespace, own=own, mesh=mesh), there.get(namespace)
            if kept is None or kept.data != config_map["data"]:
                outcome = await keeper.apply(CONFIG_MAPS, config_map, uid=kept.metadata.uid if kept else "")
                complete = isinstance(outcome, Applied) and complete
        for namespace, kept in sorted(there.items()):
            if namespace not in wanted | self.namespaces.ending and is_the_leaders(kept.metadata.labels):
                gone = await keeper.delete(CONFIG_MAPS, namespace, TRUST_CONFIG_MAP, uid=kept.metadata.uid)
                complete = gone and complete
        return complete

    def _name_strangers(self, namespaces: frozenset[str]) -> None:
        for namespace in sorted(namespaces - self._strangers):
            log.error(
                "somebody else's ConfigMap is in the way, so no proxy of its namespace can start",
                namespace=namespace,
                name=TRUST_CONFIG_MAP,
            )
        self._strangers = namespaces

    def _issue(self) -> KeyPair:
        """With the bridge, so that it is good for an API server that has not been told of a new root yet."""
        issued = self._own.issue(self._settings.place.dns_names, Purpose.SERVER, now=now())
        chain = issued.chain_pem + self._own.bridge_pem
        return KeyPair(chain_pem=chain, key_pem=issued.key_pem.reveal(), renew_at=issued.renew_at)


def owned_by(uid: str) -> dict[str, JSON]:
    """Without this ClusterRole nobody could take the configurations back, or give the Lease back, and Pods or other
    replicas would wait for who has gone: so they go with it (Kubernetes: garbage collection), whoever uninstalls."""
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": CONTROLLER, "uid": uid}
