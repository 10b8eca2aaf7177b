"""From a MutualTLS to a Server for each port, which only clients with an identity of the mesh may use.

Linkerd's proxies speak mutual TLS to each other anyway. What they accept besides, on a port that has no Server, the
default inbound policy of the Pod says; so Strict is only what it says where that policy wants an identity too.
"""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.intent import InboundPort, MutualTLSIntent, Protocol, TLSMode
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import MANAGED_BY_LABEL, PROVIDER_LABEL, made, made_name
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, at, items
from smeagol.providers.pod_monitor import selector_of
from smeagol.providers.selecting import matches, pods_that_say, reaches
from smeagol.refs import ObjectRef

__all__ = [
    "AUTHENTICATION",
    "AUTHORIZATION",
    "POLICY_HTTP_ROUTE",
    "SERVERS",
    "SERVER_AUTHORIZATION",
    "mutual_tls_conflicts",
    "mutual_tls_plan",
]

GROUP = "policy.linkerd.io"
SERVERS = (PeerKind(f"{GROUP}/v1beta3", "Server", "servers"),)
"""v1beta3 is the first with an access policy (Linkerd 2.16)."""
AUTHENTICATION = PeerKind(f"{GROUP}/v1alpha1", "MeshTLSAuthentication", "meshtlsauthentications")
AUTHORIZATION = PeerKind(f"{GROUP}/v1alpha1", "AuthorizationPolicy", "authorizationpolicies")
SERVER_AUTHORIZATION = PeerKind(f"{GROUP}/v1beta1", "ServerAuthorization", "serverauthorizations")
POLICY_HTTP_ROUTE = PeerKind(f"{GROUP}/v1beta3", "HTTPRoute", "httproutes")

DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"
WITH_IDENTITY = ("all-authenticated", "cluster-authenticated", "deny")
PAST_THE_PROXY = "config.linkerd.io/skip-inbound-ports"
SERVER_FIRST = frozenset({25, 587, 3306, 4444, 5432, 6379, 9300, 11211})
"""Ports that Linkerd takes for opaque if nobody says otherwise. A Server says otherwise, so it must say the same."""

_PROTOCOLS = {
    Protocol.HTTP: "unknown",  # the proxy sees at once whether it is HTTP/1 or 2
    Protocol.HTTP2: "HTTP/2",
    Protocol.GRPC: "gRPC",
    Protocol.TCP: "opaque",
    Protocol.TLS: "TLS",
    Protocol.AUTO: "unknown",
}


def mutual_tls_plan(mutual_tls: MutualTLSIntent, provider: str) -> Plan:
    """Nothing, where Linkerd would enforce something else than what is asked for (spec: SMI-MTLS-23)."""
    strict = mutual_tls.mode is TLSMode.STRICT
    if mutual_tls.stricter:
        others = ", ".join(str(ref) for ref in mutual_tls.stricter)
        message = (
            f"some of the Pods are also selected by {others}, which is Strict. Of two Servers on a port Linkerd takes "
            "the older, so nothing is created. Let the selectors not overlap"
        )
        return _refused("spec.mode", Feature.MUTUAL_TLS_PERMISSIVE, message)
    if not strict and not mutual_tls.ports and mutual_tls.selection.pods:
        message = (
            "Linkerd opens port by port, and neither the Pods' containers nor a Service declare any. Nothing is "
            "created. Declare the containers' ports"
        )
        return _refused("spec.mode", Feature.MUTUAL_TLS_PERMISSIVE, message)
    objects: list[JSONObject] = []
    for port in mutual_tls.ports:
        name = made_name(mutual_tls.ref.name, port.number)
        objects.append(_made(mutual_tls, SERVERS[0], name, provider, _server(mutual_tls, port)))
    if strict:  # without ports, too: the Pods' default policy protects what nobody declares, if it is as it must be
        authentication = made_name(mutual_tls.ref.name)
        objects.append(_made(mutual_tls, AUTHENTICATION, authentication, provider, {"identities": ["*"]}))
        for port in mutual_tls.ports:
            name = made_name(mutual_tls.ref.name, port.number)
            spec: JSON = {
                "targetRef": {"group": GROUP, "kind": "Server", "name": name},
                "requiredAuthenticationRefs": [
                    {"group": GROUP, "kind": AUTHENTICATION.kind, "name": authentication},
                ],
            }
            objects.append(_made(mutual_tls, AUTHORIZATION, name, provider, spec))
    return Plan(objects=tuple(objects), unsupported=_unsupported(mutual_tls))


def _refused(field: str, feature: Feature, message: str) -> Plan:
    return Plan(unsupported=(Unsupported(field, feature, message),), failed_closed=True)


def _server(mutual_tls: MutualTLSIntent, port: InboundPort) -> JSON:
    opaque = port.protocol is Protocol.AUTO and port.number in SERVER_FIRST
    return {
        "podSelector": selector_of(mutual_tls.selection.match_labels, mutual_tls.selection.match_expressions),
        "port": port.number,
        "proxyProtocol": "opaque" if opaque else _PROTOCOLS[port.protocol],
        "accessPolicy": "deny" if mutual_tls.mode is TLSMode.STRICT else "all-unauthenticated",
    }


def _unsupported(mutual_tls: MutualTLSIntent) -> tuple[Unsupported, ...]:
    found = [
        Unsupported(
            "spec.selector",
            Feature.MUTUAL_TLS_SERVER_NAMES,
            "Linkerd's certificates carry the identity of the service account alone: an ordinary TLS client is refused",
        ),
        Unsupported(
            "spec.selector",
            Feature.MUTUAL_TLS_IDENTITY_HEADER,
            "Linkerd tells the application its client's identity in l5d-client-id, which it removes from what clients "
            "send; x-sme-identity passes as the client has sent it, and must not be trusted",
        ),
    ]
    if mutual_tls.client_names:
        message = "Linkerd's certificates carry the identity of the service account alone, and none of these names"
        found.append(Unsupported("spec.clientSubjectNames", Feature.MUTUAL_TLS_CLIENT_NAMES, message))
    return tuple(found)


def _made(mutual_tls: MutualTLSIntent, kind: PeerKind, name: str, provider: str, spec: JSON) -> JSONObject:
    return made(
        kind.group_version,
        kind.kind,
        name=name,
        namespace=mutual_tls.ref.namespace,
        owner=mutual_tls.ref,
        provider=provider,
        spec=spec,
    )


def mutual_tls_conflicts(mutual_tls: MutualTLSIntent, around: Surroundings) -> Iterator[Conflict]:
    """Foreign Servers on the same ports; what would let others into ours; Pods that are open beside the Servers."""
    numbers = {port.number for port in mutual_tls.ports}
    namespace = mutual_tls.ref.namespace
    for server in around.of(SERVERS[0], namespace):
        selector, port = at(server, "spec", "podSelector"), at(server, "spec", "port")
        # A port by name may be any: which, only the Pods' templates say.
        on_ours = selector is not None and (port in numbers or isinstance(port, str))
        if on_ours and reaches(selector, mutual_tls.selection, around):
            yield Conflict.over(server, f"it serves port {port} of some of the Pods")
    if mutual_tls.mode is not TLSMode.STRICT:
        return
    names = {made_name(mutual_tls.ref.name, number) for number in numbers}
    yield from _openings(namespace, names, around)
    for pod, said in pods_that_say(DEFAULT_POLICY, mutual_tls.selection, around):
        # What a namespace says, the injector writes on a Pod; one without a proxy is told as such.
        if said not in WITH_IDENTITY and pod not in mutual_tls.selection.uninjected:
            message = (
                "ports that nobody declares are served to clients without an identity. Annotate its namespace with "
                f"{DEFAULT_POLICY}: all-authenticated, and restart it"
            )
            yield Conflict(foreign=ObjectRef("Pod", pod.namespace, pod.name), message=message, oldest_wins=False)
    for pod, said in pods_that_say(PAST_THE_PROXY, mutual_tls.selection, around):
        if said:
            message = f"some of its ports go past its proxy ({PAST_THE_PROXY}: {said})"
            yield Conflict(foreign=ObjectRef("Pod", pod.namespace, pod.name), message=message, oldest_wins=False)


def _openings(namespace: str, servers: set[str], around: Surroundings) -> Iterator[Conflict]:
    """Foreign objects that let clients without an identity into our Servers: Linkerd adds authorizations up."""
    message = "it lets clients without an identity into the Pods' ports"
    for policy in around.of(AUTHORIZATION, namespace):
        kind, name = at(policy, "spec", "targetRef", "kind"), at(policy, "spec", "targetRef", "name")
        wanted = {ref.get("kind") for ref in items(policy, "spec", "requiredAuthenticationRefs")}
        ours = kind == "Namespace" or (kind == "Server" and name in servers)
        if ours and not wanted & {AUTHENTICATION.kind, "ServiceAccount"}:
            yield Conflict.over(policy, message, oldest_wins=False)
    labels = {MANAGED_BY_LABEL: "smeagol", PROVIDER_LABEL: "linkerd"}
    for authorization in around.of(SERVER_AUTHORIZATION, namespace):
        server = at(authorization, "spec", "server")
        selector = at(server, "selector")
        ours = at(server, "name") in servers or (selector is not None and matches(selector, labels))
        if ours and at(authorization, "spec", "client", "unauthenticated") is True:
            yield Conflict.over(authorization, message, oldest_wins=False)
    for route in around.of(POLICY_HTTP_ROUTE, namespace):
        if any(p.get("kind") == "Server" and p.get("name") in servers for p in items(route, "spec", "parentRefs")):
            yield Conflict.over(route, "what it lets in is not for the Pods' Servers to say", oldest_wins=False)
