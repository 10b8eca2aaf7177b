"""From a MutualTLS to MeshTLS, for Pods to which a MeshIdentity gives a certificate.

The adapter makes neither identities nor permissions: both are the mesh's, and would change what other Pods may do.
"""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.intent import MutualTLSIntent, TLSMode
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.peer import Conflict, JSONObject, Surroundings, at, items
from smeagol.providers.kuma.policies import (
    MESH,
    MESH_IDENTITY,
    MESH_KIND,
    MESH_LABEL,
    MESH_TLS,
    NAMESPACE_LABEL,
    policies,
    same_target,
)
from smeagol.providers.selecting import matches, pods_that_say
from smeagol.refs import ObjectRef, PodRef

__all__ = ["mutual_tls_conflicts", "mutual_tls_plan"]

PAST_THE_PROXY = "traffic.kuma.io/exclude-inbound-ports"


def mutual_tls_plan(mutual_tls: MutualTLSIntent, provider: str) -> Plan:
    """Nothing, where Kuma would enforce something else than what is asked for (spec: SMI-MTLS-23)."""
    rules: JSON = [{"default": {"mode": mutual_tls.mode.value}}]
    objects = policies(MESH_TLS, mutual_tls.ref, provider, mutual_tls.selection, {"rules": rules})
    if not objects:
        message = (
            "Kuma's targets have labels only, and would select other Pods. Nothing is created. Select by matchLabels, "
            "or by In with few values"
        )
        refusal = Unsupported("spec.selector.matchExpressions", Feature.MUTUAL_TLS, message)
        return Plan(unsupported=(refusal,), failed_closed=True)
    if mutual_tls.stricter:
        others = ", ".join(str(ref) for ref in mutual_tls.stricter)
        message = (
            f"some of the Pods are also selected by {others}, which is Strict. Of two MeshTLS on a Pod Kuma takes the "
            "one that is first by name, so nothing is created. Let the selectors not overlap"
        )
        refusal = Unsupported("spec.mode", Feature.MUTUAL_TLS_PERMISSIVE, message)
        return Plan(unsupported=(refusal,), failed_closed=True)
    return Plan(objects=objects, unsupported=_unsupported(mutual_tls))


def _unsupported(mutual_tls: MutualTLSIntent) -> tuple[Unsupported, ...]:
    found = [
        Unsupported(
            "spec.selector",
            Feature.MUTUAL_TLS_SERVER_NAMES,
            "Kuma's certificates carry the SPIFFE id alone: an ordinary TLS client refuses them",
        ),
        Unsupported(
            "spec.selector",
            Feature.MUTUAL_TLS_IDENTITY_HEADER,
            "Kuma tells the application its client's SPIFFE id in x-forwarded-client-cert; x-sme-identity passes as "
            "the client has sent it, and must not be trusted",
        ),
    ]
    if mutual_tls.client_names:
        message = "Kuma's certificates carry the SPIFFE id alone, and none of these names"
        found.append(Unsupported("spec.clientSubjectNames", Feature.MUTUAL_TLS_CLIENT_NAMES, message))
    return tuple(found)


def mutual_tls_conflicts(mutual_tls: MutualTLSIntent, around: Surroundings, *, mesh_mtls: bool) -> Iterator[Conflict]:
    """MeshTLS that say otherwise, and Pods that Kuma does not protect. `mesh_mtls`: Kuma 2 reads `Mesh.mtls` too."""
    for foreign in around.of(MESH_TLS, mutual_tls.ref.namespace):
        if same_target(foreign, mutual_tls.selection, around) and _modes(foreign) - {mutual_tls.mode.value}:
            yield Conflict.over(foreign, "it sets another mode for some of the Pods", oldest_wins=False)
    for pod, said in pods_that_say(MESH_LABEL, mutual_tls.selection, around):
        if said not in ("", MESH):
            yield _open(pod, f"it is in the mesh '{said}', and the adapter serves '{MESH}'")
    everybody = mesh_mtls and any(
        at(mesh, "metadata", "name") == MESH and at(mesh, "spec", "mtls", "enabledBackend")
        for mesh in around.of(MESH_KIND)
    )
    if not everybody:
        for pod in mutual_tls.selection.pods:
            if not _has_identity(pod, around):
                yield _open(pod, "no MeshIdentity gives it a certificate, so it would speak plaintext. Create one")
    if mutual_tls.mode is TLSMode.STRICT:
        for pod, said in pods_that_say(PAST_THE_PROXY, mutual_tls.selection, around):
            if said:
                yield _open(pod, f"some of its ports go past its proxy ({PAST_THE_PROXY}: {said})")


def _open(pod: PodRef, message: str) -> Conflict:
    return Conflict(foreign=ObjectRef("Pod", pod.namespace, pod.name), message=message, oldest_wins=False)


def _modes(mesh_tls: JSONObject) -> set[str]:
    """`from` is the older spelling of `rules`."""
    entries = (*items(mesh_tls, "spec", "rules"), *items(mesh_tls, "spec", "from"))
    return {str(mode) for entry in entries if (mode := at(entry, "default", "mode"))}


def _has_identity(pod: PodRef, around: Surroundings) -> bool:
    """A proxy has the labels of its Pod, and some of Kuma's. One without a selector for proxies selects none."""
    labels = {**around.pod_labels.get(pod, {}), NAMESPACE_LABEL: pod.namespace, MESH_LABEL: MESH}
    return any(
        (at(identity, "metadata", "labels", MESH_LABEL) or MESH) == MESH
        and at(identity, "spec", "selector", "dataplane") is not None
        and matches(at(identity, "spec", "selector", "dataplane"), labels)
        for identity in around.of(MESH_IDENTITY)
    )
