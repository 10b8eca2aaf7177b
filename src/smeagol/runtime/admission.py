"""The webhooks of a control plane in a cluster: every replica answers them, the leader tells the API server of them.

What the leader keeps: the two webhook configurations, and in each namespace of the mesh the ConfigMap from which
proxies learn whom to trust. All follow from the state: whatever somebody changes or deletes of them comes back.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from smeagol.infra.kubernetes.keeper import Keeper, Kept, Place
from smeagol.install.access import CONTROLLER
from smeagol.intent import INJECT_LABEL, MutualTLSIntent, SidecarIntent, Unit, UnitKey, WorkloadIntent
from smeagol.intent.selection import Inject
from smeagol.pki import Purpose
from smeagol.plan import JSON, ProxyProvider
from smeagol.runtime.control_plane import ControlPlane, now
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

__all__ = ["Admission", "AdmissionSettings", "MeshNamespaces"]

log = structlog.get_logger(__name__)

RESYNC_SECONDS = 30.0
"""How long what somebody has changed of the kept objects stays changed."""

MUTATING = Place(
    api="/apis/admissionregistration.k8s.io/v1",
    plural="mutatingwebhookconfigurations",
    kind="MutatingWebhookConfiguration",
)
VALIDATING = Place(
    api="/apis/admissionregistration.k8s.io/v1",
    plural="validatingwebhookconfigurations",
    kind="ValidatingWebhookConfiguration",
)
CLUSTER_ROLES = Place(api="/apis/rbac.authorization.k8s.io/v1", plural="clusterroles", kind="ClusterRole")
CONFIG_MAPS = Place(api="/api/v1", plural="configmaps", kind="ConfigMap", namespaced=True)


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

    def note_units(self, changed: Iterable[UnitKey], units: Mapping[UnitKey, Unit]) -> None:
        for key in changed:
            if (before := self._reasons.pop(key, None)) is not None:
                self._counts[before] -= 1
                if not self._counts[before]:
                    del self._counts[before]
            if _asks_for_proxies(units.get(key)):
                self._reasons[key] = key.namespace
                self._counts[key.namespace] += 1

    def note_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether its label says something else than before."""
        asks = labels.get(INJECT_LABEL) == Inject.ENABLED.value
        if asks == (name in self._labelled):
            return False
        self._labelled ^= {name}
        return True

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._counts.keys() | self._labelled)


def _asks_for_proxies(unit: Unit | None) -> bool:
    match unit:
        case WorkloadIntent():
            return True
        case MutualTLSIntent():
            return unit.enforced
        case SidecarIntent():
            return unit.accepted
        case _:
            return False


class Admission:
    """`serve` on every replica, `keep` on the one that leads."""

    def __init__(self, plane: ControlPlane, settings: AdmissionSettings, *, provider: ProxyProvider) -> None:
        self.namespaces = MeshNamespaces()
        self.reviews = Reviews()
        self._plane = plane
        self._settings = settings
        self._news = asyncio.Event()
        self._certificate = ServingCertificate(self._issue, clock=now)
        bootstrap = bootstrap_template(provider, plane.mesh.intent, settings.injection)
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

    def note_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """To be called for each namespace that comes, changes, or goes (then without labels)."""
        if self.namespaces.note_namespace(name, labels):
            self._news.set()

    def follow_roots(self) -> None:
        """To be called when the roots have changed, or the one that signs. Raises SmeagolError."""
        self._news.set()
        self._certificate.renew()

    async def serve(self, started: asyncio.Event) -> None:
        """Answer until cancelled; `started` is set once reviews can come. Raises OSError if the port is taken."""
        bound = _bound(self._settings.address)
        bound.listen(1024)
        started.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._certificate.keep_fresh())
            tasks.create_task(serve(self._app, [bound], self._certificate.context))

    async def keep(self, keeper: Keeper) -> None:
        """Keep what the API server and the proxies must have, until cancelled."""
        owner = ""
        while True:
            self._news.clear()
            bundle = self._plane.authority.trust_bundle_pem
            place = self._settings.place
            # Once it was there it stays the owner: what is made after it has gone goes too.
            owner = await keeper.uid(CLUSTER_ROLES, CONTROLLER) or owner
            owners = [_owned_by(owner)] if owner else []
            await keeper.apply(MUTATING, mutating_configuration(place, bundle, owners))
            await keeper.apply(VALIDATING, validating_configuration(place, bundle, owners))
            await self._keep_trust(keeper, bundle)
            try:
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _keep_trust(self, keeper: Keeper, bundle: bytes) -> None:
        """One ConfigMap in each namespace of the mesh, and none that we have made elsewhere."""
        there = await keeper.named(CONFIG_MAPS, TRUST_CONFIG_MAP)
        if there is None:
            return
        wanted = self.namespaces.names
        for namespace in sorted(wanted):
            config_map = trust_config_map(namespace, bundle)
            if not _says(there.get(namespace), config_map):
                await keeper.apply(CONFIG_MAPS, config_map)
        for namespace in sorted(there.keys() - wanted):
            if _is_ours(there[namespace]):
                await keeper.delete(CONFIG_MAPS, TRUST_CONFIG_MAP, namespace)

    def _issue(self) -> KeyPair:
        """With the bridge, so that it is good for an API server that has not been told of a new root yet."""
        authority = self._plane.authority
        issued = authority.issue(self._settings.place.dns_names, Purpose.SERVER, now=now())
        chain = issued.chain_pem + authority.bridge_pem
        return KeyPair(chain_pem=chain, key_pem=issued.key_pem.reveal(), renew_at=issued.renew_at)


def _owned_by(uid: str) -> JSON:
    """Without this ClusterRole nobody could take the configurations back, and Pods would wait for who has gone: so they
    go with it (Kubernetes: garbage collection), whoever uninstalls."""
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": CONTROLLER, "uid": uid}


def _says(there: Kept | None, wanted: Mapping[str, JSON]) -> bool:
    return there is not None and there.data == wanted["data"] and _is_ours(there)


def _is_ours(there: Kept) -> bool:
    return there.metadata.labels.get("app.kubernetes.io/managed-by") == "smeagol"


def _bound(address: str) -> socket.socket:
    """Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((host, int(port)))
    return made
