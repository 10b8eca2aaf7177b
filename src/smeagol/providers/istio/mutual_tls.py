"""From a MutualTLS to PeerAuthentication, and an EnvoyFilter for the identity header.

Clients need nothing: Istio's proxies speak mutual TLS to every server that has a proxy (auto mTLS).
"""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.intent import MutualTLSIntent, TLSMode
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import digest_of, made, made_name
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, at
from smeagol.providers.istio.kinds import ENVOY_FILTER, PEER_AUTHENTICATIONS
from smeagol.providers.selecting import alternatives, labels_of, pods_that_say, reaches
from smeagol.refs import ObjectRef

__all__ = ["mutual_tls_conflicts", "mutual_tls_plan"]

HEADER = "x-sme-identity"
PAST_THE_PROXY = "traffic.sidecar.istio.io/excludeInboundPorts"
TO_THE_PROXY = "traffic.sidecar.istio.io/includeInboundPorts"


def mutual_tls_plan(mutual_tls: MutualTLSIntent, kind: PeerKind, root_namespace: str, provider: str) -> Plan:
    """Nothing, where Istio would enforce something else than what is asked for (spec: SMI-MTLS-23)."""
    refusal = _refusal(mutual_tls, root_namespace)
    if refusal is not None:
        return Plan(unsupported=(refusal,), failed_closed=True)
    several = bool(mutual_tls.selection.match_expressions)
    objects: list[JSONObject] = []
    for labels in alternatives(mutual_tls.selection):
        name = made_name(mutual_tls.ref.name, *([digest_of(labels)] * several))
        objects.append(_object(mutual_tls, kind, name, provider, _peer_authentication(mutual_tls, labels)))
        objects.append(_object(mutual_tls, ENVOY_FILTER, name, provider, _identity_header(labels)))
    return Plan(objects=tuple(objects), unsupported=_unsupported(mutual_tls))


def _refusal(mutual_tls: MutualTLSIntent, root_namespace: str) -> Unsupported | None:
    if not alternatives(mutual_tls.selection):
        message = (
            "Istio's selectors have matchLabels only, and would select other Pods. Nothing is created. "
            "Select by matchLabels, or by In with few values"
        )
        return Unsupported("spec.selector.matchExpressions", Feature.MUTUAL_TLS, message)
    if mutual_tls.ref.namespace == root_namespace:
        message = (
            f"in Istio's root namespace '{root_namespace}' a PeerAuthentication holds for the whole mesh. "
            "Nothing is created. Put the MutualTLS into the namespace of its Pods"
        )
        return Unsupported("metadata.namespace", Feature.MUTUAL_TLS, message)
    if mutual_tls.stricter:
        others = ", ".join(str(ref) for ref in mutual_tls.stricter)
        message = (
            f"some of the Pods are also selected by {others}, which is Strict. Of two PeerAuthentications on a Pod "
            "Istio takes the older, so nothing is created. Let the selectors not overlap"
        )
        return Unsupported("spec.mode", Feature.MUTUAL_TLS_PERMISSIVE, message)
    return None


def _peer_authentication(mutual_tls: MutualTLSIntent, labels: dict[str, str]) -> JSON:
    mode = "STRICT" if mutual_tls.mode is TLSMode.STRICT else "PERMISSIVE"
    return {**({"selector": {"matchLabels": labels}} if labels else {}), "mtls": {"mode": mode}}


def _identity_header(labels: dict[str, str]) -> JSON:
    """Envoy removes before it adds, and adds nothing where there is no value: a client's own header never passes."""
    return {
        **({"workloadSelector": {"labels": labels}} if labels else {}),
        "configPatches": [
            {
                "applyTo": "ROUTE_CONFIGURATION",
                "match": {"context": "SIDECAR_INBOUND"},
                "patch": {
                    "operation": "MERGE",
                    "value": {
                        "request_headers_to_remove": [HEADER],
                        "request_headers_to_add": [
                            {
                                "header": {"key": HEADER, "value": "%DOWNSTREAM_PEER_URI_SAN%"},
                                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                            }
                        ],
                    },
                },
            }
        ],
    }


def _unsupported(mutual_tls: MutualTLSIntent) -> tuple[Unsupported, ...]:
    server = Unsupported(
        "spec.selector",
        Feature.MUTUAL_TLS_SERVER_NAMES,
        "Istio's certificates carry the SPIFFE id alone: clients of the mesh check it, and an ordinary TLS client that "
        "checks a host name refuses the server",
    )
    client = Unsupported(
        "spec.clientSubjectNames",
        Feature.MUTUAL_TLS_CLIENT_NAMES,
        "Istio's certificates carry the SPIFFE id alone, and x-sme-identity shows it instead of these names",
    )
    return (server, client) if mutual_tls.client_names else (server,)


def _object(mutual_tls: MutualTLSIntent, kind: PeerKind, name: str, provider: str, spec: JSON) -> JSONObject:
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
    """PeerAuthentications that say otherwise for some of the Pods, and Pods whose ports go past their proxy.

    One with a selector overrules one without; of two of a kind Istio takes the older (pilot: authentication.go).
    """
    ours = bool(mutual_tls.selection.match_labels or mutual_tls.selection.match_expressions)
    for foreign in around.of(PEER_AUTHENTICATIONS[0], mutual_tls.ref.namespace):
        theirs = bool(labels_of(at(foreign, "spec", "selector", "matchLabels")))
        if ours and not theirs:
            continue
        if _keeps(foreign, mutual_tls.mode) or not reaches(
            at(foreign, "spec", "selector"), mutual_tls.selection, around
        ):
            continue
        yield Conflict.over(foreign, "it sets another mode for some of the Pods", oldest_wins=ours == theirs)
    if mutual_tls.mode is not TLSMode.STRICT:
        return
    for annotation, harmless in ((PAST_THE_PROXY, ("",)), (TO_THE_PROXY, ("", "*"))):
        for pod, said in pods_that_say(annotation, mutual_tls.selection, around):
            if said not in harmless:
                message = f"some of its ports go past its proxy ({annotation}: {said})"
                yield Conflict(foreign=ObjectRef("Pod", pod.namespace, pod.name), message=message, oldest_wins=False)


def _keeps(foreign: JSONObject, mode: TLSMode) -> bool:
    """Does it ask for the same, or for more, on every port?"""
    enough = {"STRICT"} if mode is TLSMode.STRICT else {"PERMISSIVE"}
    ports = at(foreign, "spec", "portLevelMtls")
    modes = [at(port, "mode") for port in ports.values()] if isinstance(ports, dict) else []
    return {at(foreign, "spec", "mtls", "mode"), *modes} <= enough
