"""What a provider would do for manifests, without a cluster and without running anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

import msgspec

from smeagol.api import Canary, MutualTLS, ProviderClass, Sidecar
from smeagol.errors import SmeagolError
from smeagol.intent import Resolver, Settings, Unit, UnitKey
from smeagol.objects import Metadata, Namespace, Pod, PodStatus
from smeagol.objects.core import PodCondition
from smeagol.plan import Plan, Provider
from smeagol.runtime.remote import SCHEME, RemoteProvider, remote_provider
from smeagol.sources.cluster import Cluster, Key
from smeagol.sources.files import Folder

__all__ = ["NoSuchProviderError", "Rendered", "load_folder", "provider_named", "providers", "render"]

GROUP = "smeagol.providers"
POD_NETWORK = "10.244.0.0/16"
T = TypeVar("T")


class NoSuchProviderError(SmeagolError):
    code = "SMI-R004"


def providers() -> Mapping[str, EntryPoint]:
    """The installed providers by name; nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def provider_named(name: str) -> Provider:
    """Load a provider, by the name of its entry point, as `module:attribute`, or as `unix:SOCKET` of its process.

    Raises NoSuchProviderError, also if what is found under the name is no provider; and what `remote_provider` does.
    """
    if name.startswith(SCHEME):
        return remote_provider(name)
    known = dict(providers())
    if ":" in name:
        known[name] = EntryPoint(name=name, value=name, group=GROUP)
    if name not in known:
        raise NoSuchProviderError(
            f"no provider '{name}' is installed",
            fix=f"choose one of {', '.join(known)}, install its package, or give unix:SOCKET of its process",
        )
    try:
        provider = known[name].load()
    except Exception as error:
        raise NoSuchProviderError(
            f"the provider cannot be loaded: {error}", where=known[name].value, fix="install what it needs"
        ) from error
    if not isinstance(provider, Provider):
        raise NoSuchProviderError(
            "this is not a provider",
            where=known[name].value,
            fix="it needs name, controller_name, features and plan (smeagol.plan.Provider)",
        )
    return provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One unit of the intent and its plan; `error` says why there is none."""

    key: UnitKey
    unit: Unit
    plan: Plan
    error: SmeagolError | None = None


def load_folder(resolver: Resolver, folder: Folder) -> None:
    """Put the users' objects of a folder into a resolver, with the namespaces that they imply."""
    names = {ref.namespace for ref in (*folder.core, *folder.smi) if ref.namespace} | {"default"}
    written = folder.manifests().namespaces
    resolver.namespaces.replace(
        {("", name): written.get(name) or Namespace(metadata=Metadata(name=name)) for name in names | written.keys()}
    )

    def of(kind: type[T]) -> dict[Key, T]:
        return {(ref.namespace, ref.name): obj for ref, obj in folder.smi.items() if isinstance(obj, kind)}

    resolver.canaries.replace(of(Canary))
    resolver.mutual_tls.replace(of(MutualTLS))
    resolver.sidecars.replace(of(Sidecar))
    resolver.provider_classes.replace(of(ProviderClass))


def render(folder: Folder, provider: Provider) -> tuple[Rendered, ...]:
    """All units and their plans, as if every Pod were running and ready, with made-up addresses.

    The same manifests give the same result.
    """
    cluster = Cluster(pod_networks=(POD_NETWORK,))
    cluster.load(folder.manifests())
    cluster.settle()
    ready = PodStatus(phase="Running", conditions=(PodCondition(type="Ready", status="True"),))
    for key in list(cluster.pods):
        cluster.observe(key, ready)
    cluster.settle()
    resolver = Resolver(
        Settings(controllers=frozenset({provider.controller_name}), serve_unclassed=True, pod_cidrs=(POD_NETWORK,))
    )
    load_folder(resolver, folder)
    resolver.pods.replace({key: _without_chance(pod) for key, pod in cluster.pods.items()})
    resolver.services.replace(cluster.services)
    resolver.endpoint_slices.replace(cluster.endpoint_slices)
    resolver.settle()
    if isinstance(provider, RemoteProvider):
        asyncio.run(provider.calls.fill(resolver.units.values()))
    return tuple(_rendered(sorted(resolver.units.items()), provider))


def _without_chance(pod: Pod) -> Pod:
    """A Pod's uid is drawn by lot; nothing that is rendered may depend on it."""
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, uid=pod.metadata.name))


def _rendered(units: Iterable[tuple[UnitKey, Unit]], provider: Provider) -> Iterable[Rendered]:
    for key, unit in units:
        try:
            yield Rendered(key=key, unit=unit, plan=provider.plan(unit))
        except SmeagolError as error:
            yield Rendered(key=key, unit=unit, plan=Plan(), error=error)
