"""The root proxies of standalone mode (spec: SMI-CAN-22): what runs them and leads clients there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from smeagol.intent import INJECT_LABEL, PROXY_CONTAINER, ROOT_PROXY_OF, CanaryIntent
from smeagol.objects import Container, Deployment, EndpointSlice, Metadata, Pod, PodSpec, Service
from smeagol.objects.core import DeploymentSpec, PodTemplate
from smeagol.refs import ObjectRef
from smeagol.sources.cluster import Key, Manifests
from smeagol.webhook.root_proxy import endpoint_slices, none_ready, object_name, root_proxy_of, unfit

__all__ = ["RootProxiesHere", "root_proxies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootProxiesHere:
    """`waiting`: what the root proxies of each Canary that asks for some wait for, empty if for nothing."""

    deployments: Mapping[Key, Deployment] = field(default_factory=dict)
    endpoint_slices: Mapping[Key, EndpointSlice] = field(default_factory=dict)
    waiting: Mapping[ObjectRef, str] = field(default_factory=dict)

    def beside(self, manifests: Manifests) -> Manifests:
        """Manifests with what is made of Canaries."""
        return replace(
            manifests,
            deployments={**self.deployments, **manifests.deployments},
            endpoint_slices={**self.endpoint_slices, **manifests.endpoint_slices},
        )


def root_proxies(
    canaries: Iterable[CanaryIntent],
    *,
    manifests: Manifests,
    services: Mapping[Key, Service],
    pods: Iterable[Pod],
    uid: Callable[[ObjectRef], str],
) -> RootProxiesHere:
    """Those that these Canaries ask for. `manifests`: the folder's, left alone; `uid`: of a Canary."""
    there = _by_canary(pods)
    deployments: dict[Key, Deployment] = {}
    slices: dict[Key, EndpointSlice] = {}
    waiting: dict[ObjectRef, str] = {}
    for canary in canaries:
        own, root = there.get(canary.ref, ()), services.get((canary.root.namespace, canary.root.name))
        made = endpoint_slices(canary, uid(canary.ref), root.cluster_ips if root is not None else (), own)
        led = {_key(part.metadata): part for part in msgspec.convert(made, tuple[EndpointSlice, ...])}
        run = _deployment(canary)
        taken = {_key(run.metadata)} & manifests.deployments.keys(), led.keys() & manifests.endpoint_slices.keys()
        if why := unfit(canary) or _taken(*taken):
            waiting[canary.ref] = why
            continue
        deployments[_key(run.metadata)] = run
        slices |= led
        waiting[canary.ref] = "" if any(pod.ready for pod in own) else none_ready(canary)
    return RootProxiesHere(deployments=deployments, endpoint_slices=slices, waiting=waiting)


def _deployment(canary: CanaryIntent) -> Deployment:
    name = object_name(canary.ref)
    template = PodTemplate(
        metadata=Metadata(labels={INJECT_LABEL: "disabled"}, annotations={ROOT_PROXY_OF: canary.ref.name}),
        spec=PodSpec(service_account_name=name, containers=(Container(name=PROXY_CONTAINER),)),
    )
    return Deployment(
        metadata=Metadata(name=name, namespace=canary.ref.namespace),
        spec=DeploymentSpec(replicas=canary.root_proxies, template=template),
    )


def _by_canary(pods: Iterable[Pod]) -> Mapping[ObjectRef, list[Pod]]:
    found: defaultdict[ObjectRef, list[Pod]] = defaultdict(list)
    for pod in pods:
        if (canary := root_proxy_of(pod)) is not None:
            found[canary].append(pod)
    return found


def _taken(deployments: Iterable[Key], slices: Iterable[Key]) -> str:
    named = [("Deployment", *key) for key in deployments] + [("EndpointSlice", *key) for key in slices]
    if not named:
        return ""
    return f"{ObjectRef(*named[0])} is there already and is not Smeagol's, so its root proxies cannot be made"


def _key(metadata: Metadata) -> Key:
    return metadata.namespace, metadata.name
