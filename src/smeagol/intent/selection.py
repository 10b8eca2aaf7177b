"""Which Pods the users' selectors reach, which of them have a proxy, and whose an address is."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from smeagol.api.meta import LabelSelector, Operator
from smeagol.intent.added import Mark, marks_of
from smeagol.intent.passed import PROXY_PORTS, passed_ports
from smeagol.intent.root_proxies import ROOT_PROXY_OF
from smeagol.objects import Pod
from smeagol.refs import ObjectRef

__all__ = [
    "INJECT_LABEL",
    "NO_LABEL",
    "PROXY_CONTAINER",
    "AddressFacts",
    "Inject",
    "PodFacts",
    "canonical_address",
    "index_labels",
    "inject_choice",
    "may_have_proxy",
    "owner_of_address",
    "pod_facts",
    "tried_on",
    "wants_proxy",
]

INJECT_LABEL = "smi-spec.io/inject"
"""On a namespace or a Pod: `enabled` or `disabled`. The Pod's word counts before its namespace's."""

PROXY_CONTAINER = "smeagol-proxy"
"""Name of the proxy's container, by which a Pod that has one is known."""

NO_LABEL = ("", "")
"""Stands for no label in particular; no label has an empty key."""

_NEVER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces of the cluster's own Pods; a proxy there could cut the cluster off from itself."""


class Inject(enum.Enum):
    """What a label says about having a proxy. Any other text than the two words says nothing."""

    ENABLED = "enabled"
    DISABLED = "disabled"


def inject_choice(labels: Mapping[str, str]) -> Inject | None:
    """What the labels of a Pod or namespace say about having a proxy."""
    try:
        return Inject(labels.get(INJECT_LABEL))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What counts of one Pod that may still run. `created` is RFC 3339 text; `addresses` is primary first."""

    uid: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    service_account: str
    has_proxy: bool
    host_network: bool
    terminating: bool
    created: str
    ports: tuple[int, ...] = ()
    """TCP ports that its containers declare, in order"""
    passed_ports: frozenset[int] = PROXY_PORTS
    """ports that its proxy, if it has one, does not see"""
    added: frozenset[Mark] = frozenset()
    """containers that it was given by Sidecars"""
    root_proxy_of: str = ""
    """of a root proxy: its Canary"""


def pod_facts(pod: Pod, proxies: frozenset[str] = frozenset({PROXY_CONTAINER})) -> PodFacts | None:
    """None for a finished Pod: it runs nothing any more, and its address may be another's by now.

    `proxies`: the names of containers that are proxies.
    """
    if pod.finished:
        return None
    return PodFacts(
        uid=pod.metadata.uid,
        labels=pod.metadata.labels,
        # A Pod of the host's network has its node's address, which says nothing about the Pod.
        addresses=() if pod.spec.host_network else tuple(canonical_address(a) for a in pod.addresses),
        service_account=pod.spec.service_account_name or "default",
        has_proxy=any(c.name in proxies for c in (*pod.spec.init_containers, *pod.spec.containers)),
        host_network=pod.spec.host_network,
        terminating=bool(pod.metadata.deletion_timestamp),
        created=pod.metadata.creation_timestamp,
        ports=tuple(
            sorted(
                {
                    port.container_port
                    for container in (*pod.spec.init_containers, *pod.spec.containers)
                    for port in container.ports
                    if port.protocol == "TCP" and container.name not in proxies
                }
            )
        ),
        passed_ports=passed_ports(pod),
        added=marks_of(pod.metadata.annotations),
        root_proxy_of=pod.metadata.annotations.get(ROOT_PROXY_OF, "") if _is_bare_proxy(pod, proxies) else "",
    )


def _is_bare_proxy(pod: Pod, proxies: frozenset[str]) -> bool:
    """A proxy and nothing else: an application cannot get past what selects it by an annotation."""
    return all(c.name in proxies for c in (*pod.spec.init_containers, *pod.spec.containers))


def index_labels(selector: LabelSelector) -> tuple[tuple[str, str], ...]:
    """Labels of which each Pod that is selected has exactly one, so that a selector is tried on those Pods only.

    `NO_LABEL`, which counts as every Pod's, where the selector asks for no value.
    """
    if selector.match_labels:
        return (min(selector.match_labels.items()),)
    for requirement in selector.match_expressions:
        if requirement.operator is Operator.IN:
            return tuple((requirement.key, value) for value in sorted(set(requirement.values)))
    return (NO_LABEL,)


def tried_on(
    namespace: str,
    labels: Mapping[str, str],
    indexed: Callable[[tuple[str, str, str]], Iterable[ObjectRef] | None],
) -> list[ObjectRef]:
    """The objects, in order, whose selectors may select a Pod with these labels. `indexed`: those of a namespace and an
    index label."""
    return sorted(ref for label in (NO_LABEL, *labels.items()) for ref in indexed((namespace, *label)) or ())


def canonical_address(address: str) -> str:
    """One spelling for each address, since hand-made EndpointSlices may write IPv6 in any."""
    if ":" not in address:
        return address
    try:
        return str(ip_address(address))
    except ValueError:
        return address


def may_have_proxy(pod: PodFacts, namespace: str, namespace_choice: Inject | None) -> bool:
    """Can a selector reach the Pod at all?

    Never a root proxy, which has no application, nor one of the host's network, whose redirect rules would be the
    node's, or of the cluster's own namespaces. One that opted out is reached all the same once it has a proxy: the
    proxy needs to know what to do.
    """
    if pod.host_network or namespace in _NEVER or pod.root_proxy_of:
        return False
    return pod.has_proxy or _choice(pod, namespace_choice) is not Inject.DISABLED


def wants_proxy(pod: PodFacts, namespace: str, namespace_choice: Inject | None, *, selected: bool) -> bool:
    """Should the Pod get a proxy when it starts: it is selected, or it or its namespace opted in; and may have one."""
    if pod.host_network or namespace in _NEVER:
        return False
    choice = _choice(pod, namespace_choice)
    return choice is not Inject.DISABLED and (selected or choice is Inject.ENABLED)


def _choice(pod: PodFacts, namespace_choice: Inject | None) -> Inject | None:
    return inject_choice(pod.labels) or namespace_choice


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What answers at an address inside the mesh."""

    pod: tuple[str, str]
    has_proxy: bool
    mutual_tls: bool
    passed_ports: frozenset[int] = PROXY_PORTS
    root_proxy: bool = False

    def ends_mutual_tls(self, port: int) -> bool:
        """Does a proxy end mutual TLS there, at this port?"""
        return self.mutual_tls and port not in self.passed_ports


def owner_of_address(pods: Iterable[tuple[tuple[str, str], PodFacts]]) -> tuple[str, str] | None:
    """The one Pod that has an address which several still list: addresses are given out again.

    A Pod that is on its way out yields to one that stays, an older to a younger.
    """
    ranked = sorted(pods, key=lambda p: (not p[1].terminating, p[1].created, p[0]))
    return ranked[-1][0] if ranked else None
