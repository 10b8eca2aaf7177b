"""The objects that tell the API server of the webhooks, and proxies whom to trust; whoever leads applies them.

The cluster must not be locked up by a control plane that is away:

- Pods of `kube-*` namespaces, of the control plane's own, of the host's network, and mirrors of static Pods are never
  asked about, so all that a control plane needs to come back can start.
- Pods that are perhaps selected by an object are made without a proxy if nobody answers (`Ignore`); status then counts
  them (PodsNotInjected).
- Pods that ask for a proxy by a label, their own or their namespace's, are not made until somebody answers (`Fail`):
  who labels a namespace wants no Pod there outside of the mesh. Such labels are for applications, and taking one off
  needs no webhook. They are asked about at a path of their own: the API server has seen the label, and a replica that
  has not seen it yet must not make a Pod without its proxy.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smeagol import api
from smeagol.api.meta import GROUP
from smeagol.intent import INJECT_LABEL
from smeagol.intent.selection import Inject
from smeagol.plan import JSON
from smeagol.webhook.inject import ROOTS_KEY, TRUST_CONFIG_MAP, TRUST_KEY

__all__ = [
    "INJECT_LABELLED_PATH",
    "INJECT_PATH",
    "WebhookPlace",
    "mutating_configuration",
    "trust_config_map",
    "validating_configuration",
]

INJECT_PATH = "/inject"
INJECT_LABELLED_PATH = "/inject/labelled"

_TIMEOUT_SECONDS = 5
"""A Pod waits at most that long for a control plane that does not answer; answers take milliseconds."""
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_SYSTEM = ("kube-node-lease", "kube-public", "kube-system")
_LABELS: Mapping[str, JSON] = {"app.kubernetes.io/managed-by": "smeagol", "app.kubernetes.io/part-of": "smeagol"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPlace:
    """Where the webhooks answer, and what they keep away from."""

    namespace: str = "smeagol-system"
    service: str = "smeagol-webhook"
    port: int = 443
    excluded_namespaces: frozenset[str] = frozenset()
    name: str = "smeagol"

    @property
    def dns_names(self) -> tuple[str, ...]:
        """What the certificate must say; the first is how the API server dials."""
        return (f"{self.service}.{self.namespace}.svc", f"{self.service}.{self.namespace}", self.service)


def mutating_configuration(place: WebhookPlace, ca_bundle: bytes, owners: Sequence[JSON] = ()) -> Mapping[str, JSON]:
    """A MutatingWebhookConfiguration to apply. `ca_bundle`: PEM, all roots that are trusted now. `owners`: the
    ownerReferences of whatever it is to go with.
    """
    on, off = Inject.ENABLED.value, Inject.DISABLED.value
    pods: JSON = [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }
    ]
    conditions: JSON = [
        {"name": "own-network", "expression": "!(has(object.spec.hostNetwork) && object.spec.hostNetwork)"},
        {
            "name": "no-mirror",
            "expression": "!(has(object.metadata.annotations) && "
            "'kubernetes.io/config.mirror' in object.metadata.annotations)",
        },
    ]

    def webhook(name: str, namespaces: JSON, pod_labels: JSON, failure_policy: str, path: str) -> Mapping[str, JSON]:
        return {
            **_webhook(place, ca_bundle, f"{name}.inject.{GROUP}", path),
            "rules": pods,
            "namespaceSelector": {"matchExpressions": [_elsewhere(place), namespaces]},
            "objectSelector": {"matchExpressions": [pod_labels]},
            "matchConditions": conditions,
            "failurePolicy": failure_policy,
            "reinvocationPolicy": "IfNeeded",
        }

    return {
        **_head("MutatingWebhookConfiguration", place, owners),
        # A Pod's word counts before its namespace's. Each Pod is the case of at most one.
        "webhooks": [
            webhook("namespace", _label("In", on), _label("NotIn", off), "Fail", INJECT_LABELLED_PATH),
            webhook("pod", _label("NotIn", on), _label("In", on), "Fail", INJECT_LABELLED_PATH),
            webhook("selected", _label("NotIn", on, off), _label("NotIn", on, off), "Ignore", INJECT_PATH),
        ],
    }


def validating_configuration(place: WebhookPlace, ca_bundle: bytes, owners: Sequence[JSON] = ()) -> Mapping[str, JSON]:
    """A ValidatingWebhookConfiguration to apply. It only adds to what the CRDs refuse, so nothing waits for it."""
    return {
        **_head("ValidatingWebhookConfiguration", place, owners),
        "webhooks": [
            {
                **_webhook(place, ca_bundle, f"validate.{GROUP}", "/validate"),
                "rules": [
                    {
                        "apiGroups": [GROUP],
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [kind.plural for kind in api.KINDS],
                        "scope": "*",
                    }
                ],
                "failurePolicy": "Ignore",
            }
        ],
    }


def trust_config_map(namespace: str, *, own: bytes, mesh: bytes) -> Mapping[str, JSON]:
    """The ConfigMap by which the proxies of a namespace know their control plane, by roots of its `own`, and everybody
    else the `mesh`; PEM.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TRUST_CONFIG_MAP, "namespace": namespace, "labels": _LABELS},
        "data": {TRUST_KEY: own.decode(), ROOTS_KEY: mesh.decode()},
    }


def _head(kind: str, place: WebhookPlace, owners: Sequence[JSON]) -> Mapping[str, JSON]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": place.name, "labels": _LABELS, "ownerReferences": owners},
    }


def _webhook(place: WebhookPlace, ca_bundle: bytes, name: str, path: str) -> Mapping[str, JSON]:
    service: JSON = {"namespace": place.namespace, "name": place.service, "path": path, "port": place.port}
    return {
        "name": name,
        "clientConfig": {"service": service, "caBundle": base64.b64encode(ca_bundle).decode()},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": _TIMEOUT_SECONDS,
    }


def _elsewhere(place: WebhookPlace) -> JSON:
    return {
        "key": _NAMESPACE_NAME,
        "operator": "NotIn",
        "values": sorted({*_SYSTEM, place.namespace, *place.excluded_namespaces}),
    }


def _label(operator: str, *values: str) -> JSON:
    chosen: Sequence[JSON] = values
    return {"key": INJECT_LABEL, "operator": operator, "values": chosen}
