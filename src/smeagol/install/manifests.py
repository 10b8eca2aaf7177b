"""The objects of an installation, as a pure function of its settings."""

from __future__ import annotations

from collections.abc import Mapping

from smeagol.api.crd import crd
from smeagol.api.documents import Json
from smeagol.api.kinds import KINDS, Kind
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.install import resources
from smeagol.install.access import CLUSTER_RULES, NAMESPACE_RULES, AccessRule, handed_over
from smeagol.install.resources import OWN_LABELS, Manifest, Resource
from smeagol.install.settings import InstallSettings
from smeagol.intent.selection import INJECT_LABEL

__all__ = [
    "CLASS",
    "CONTROLLER",
    "CONTROLLER_NAME",
    "CONTROL_PORT",
    "DISCOVERY_PORT",
    "DISCOVERY_SERVICE",
    "OPTIONS",
    "SELECTOR",
    "WEBHOOK_PORT",
    "WEBHOOK_SERVICE",
    "manifests",
]

CONTROLLER = "smeagol-controller"
"""Name of the control plane's Deployment and of all that belongs to it."""

DISCOVERY_SERVICE = "smeagol-discovery"
DISCOVERY_PORT = 18000
CONTROL_PORT = 18003
"""On the Pod's loopback: `smeagol status` and its kin come by port-forward."""

WEBHOOK_SERVICE = "smeagol-webhook"
WEBHOOK_PORT = 9443
PEERS_PORT = 18001
"""Where replicas ask each other; no proxy has anything to do there."""

HEALTH_PORT = 18002
"""Where the kubelet asks how a replica is, and Prometheus what it counts."""

CLASS = "envoy"
CONTROLLER_NAME = "smeagol.dev/envoy"

SELECTOR: Mapping[str, str] = {
    "app.kubernetes.io/name": "smeagol",
    "app.kubernetes.io/component": "controller",
    "app.kubernetes.io/instance": "smeagol",
}
"""The labels that find the control plane's Pods. A Deployment's selector can never be changed: nor can these."""

USER_ID = 65532
"""`nonroot`, as in distroless images. A number, because the kubelet cannot know whether a name is root's."""


def manifests(settings: InstallSettings, *, default_class: bool = True) -> tuple[Manifest, ...]:
    """Every object, in the order in which they need each other.

    `default_class`: whether our ProviderClass serves the objects that name none, which only one class should.
    """
    objects = (
        _namespace(settings),
        *(_definition(kind) for kind in KINDS),
        _service_account(settings),
        *_access(settings),
        _provider_class(default=default_class),
        _discovery_service(settings),
        _webhook_service(settings),
        _network_policy(settings),
        _disruption_budget(settings),
        _deployment(settings),
    )
    return tuple(sorted(objects, key=lambda manifest: resources.INSTALLED.index(manifest.resource)))


def _labels(settings: InstallSettings) -> dict[str, str]:
    return {**SELECTOR, "app.kubernetes.io/version": settings.version, **OWN_LABELS}


def _own(resource: Resource, name: str, settings: InstallSettings, **content: Json) -> Manifest:
    """An object of the control plane, in its namespace if the kind has one."""
    return Manifest(
        resource=resource,
        name=name,
        namespace=settings.namespace if resource.namespaced else "",
        labels=_labels(settings),
        content=content,
    )


def _namespace(settings: InstallSettings) -> Manifest:
    """Restricted Pod Security, and no proxy for the control plane itself."""
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return Manifest(
        resource=resources.NAMESPACE,
        name=settings.namespace,
        labels={**security, INJECT_LABEL: "disabled", **OWN_LABELS},
    )


def _definition(kind: Kind) -> Manifest:
    definition = crd(kind)
    metadata = definition["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - crd() writes it
    return Manifest(
        resource=resources.CRD,
        name=str(metadata["name"]),
        labels=OWN_LABELS,
        content={"spec": definition["spec"]},
    )


def _provider_class(*, default: bool) -> Manifest:
    return Manifest(
        resource=resources.PROVIDER_CLASS,
        name=CLASS,
        labels=OWN_LABELS,
        annotations={DEFAULT_CLASS_ANNOTATION: "true"} if default else {},
        content={"spec": {"controllerName": CONTROLLER_NAME, "description": "Smeagol, with Envoy proxies."}},
    )


def _service_account(settings: InstallSettings) -> Manifest:
    """Its token is given to the one Pod that asks for it, and not to whatever else is started under this name."""
    return _own(resources.SERVICE_ACCOUNT, CONTROLLER, settings, automountServiceAccountToken=False)


def _access(settings: InstallSettings) -> tuple[Manifest, ...]:
    return (
        _own(resources.CLUSTER_ROLE, CONTROLLER, settings, rules=_rules(CLUSTER_RULES)),
        _own(resources.CLUSTER_ROLE_BINDING, CONTROLLER, settings, **_binding(resources.CLUSTER_ROLE, settings)),
        _own(resources.ROLE, CONTROLLER, settings, rules=_rules(NAMESPACE_RULES + handed_over(settings.ca_secret))),
        _own(resources.ROLE_BINDING, CONTROLLER, settings, **_binding(resources.ROLE, settings)),
    )


def _rules(rules: tuple[AccessRule, ...]) -> list[Json]:
    return [rule.to_json() for rule in rules]


def _binding(role: Resource, settings: InstallSettings) -> dict[str, Json]:
    return {
        "roleRef": {"apiGroup": role.group, "kind": role.kind, "name": CONTROLLER},
        "subjects": [{"kind": "ServiceAccount", "name": CONTROLLER, "namespace": settings.namespace}],
    }


def _discovery_service(settings: InstallSettings) -> Manifest:
    """Where proxies connect. A replica that is not ready has not seen the whole state, and must not be asked."""
    ports: list[Json] = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (("discovery", DISCOVERY_PORT), ("peers", PEERS_PORT))
    ]
    return _own(
        resources.SERVICE,
        DISCOVERY_SERVICE,
        settings,
        spec={"selector": dict(SELECTOR), "ports": ports},
    )


def _webhook_service(settings: InstallSettings) -> Manifest:
    """Where the API server asks. Never a replica that has not seen the whole state."""
    port: dict[str, Json] = {"name": "webhook", "port": 443, "targetPort": "webhook", "protocol": "TCP"}
    return _own(
        resources.SERVICE,
        WEBHOOK_SERVICE,
        settings,
        spec={"selector": dict(SELECTOR), "ports": [port]},
    )


def _network_policy(settings: InstallSettings) -> Manifest:
    """In: only what is served, from everywhere, since proxies are everywhere and the API server's address is not known
    here; replicas ask replicas. Out: not limited, for the same reason."""
    served: list[Json] = [{"port": port, "protocol": "TCP"} for port in (DISCOVERY_PORT, WEBHOOK_PORT, HEALTH_PORT)]
    return _own(
        resources.NETWORK_POLICY,
        CONTROLLER,
        settings,
        spec={
            "podSelector": {"matchLabels": dict(SELECTOR)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": served},
                {
                    "from": [{"podSelector": {"matchLabels": dict(SELECTOR)}}],
                    "ports": [{"port": PEERS_PORT, "protocol": "TCP"}],
                },
            ],
        },
    )


def _disruption_budget(settings: InstallSettings) -> Manifest:
    """One at a time. By `maxUnavailable`, so that a single replica can be moved; one that is ill holds nothing up."""
    return _own(
        resources.POD_DISRUPTION_BUDGET,
        CONTROLLER,
        settings,
        spec={
            "selector": {"matchLabels": dict(SELECTOR)},
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def _deployment(settings: InstallSettings) -> Manifest:
    return _own(
        resources.DEPLOYMENT,
        CONTROLLER,
        settings,
        spec={
            "replicas": settings.replicas,
            "selector": {"matchLabels": dict(SELECTOR)},
            # A proxy that reconnects finds a replica that knows everything: a new one is ready before an old one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {**_labels(settings), INJECT_LABEL: "disabled"}},
                "spec": _pod(settings),
            },
        },
    )


def _pod(settings: InstallSettings) -> dict[str, Json]:
    return {
        "serviceAccountName": CONTROLLER,
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [_spread("kubernetes.io/hostname"), _spread("topology.kubernetes.io/zone")],
        "containers": [_container(settings)],
    }


def _spread(topology: str) -> dict[str, Json]:
    """A preference: on a cluster of one node both replicas must run."""
    return {
        "topologyKey": topology,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(SELECTOR)},
    }


def _container(settings: InstallSettings) -> dict[str, Json]:
    name_of_pod: Json = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    well: Json = {"port": "health", "path": "/healthz"}
    ready: Json = {"port": "health", "path": "/readyz"}
    return {
        "name": "controller",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(_arguments(settings)),
        "env": [
            name_of_pod,
            {"name": "SMEAGOL_PROXY_IMAGE", "value": settings.proxy_image},
            {"name": "SMEAGOL_INIT_IMAGE", "value": settings.image},
        ],
        "ports": [
            {"name": "discovery", "containerPort": DISCOVERY_PORT, "protocol": "TCP"},
            {"name": "webhook", "containerPort": WEBHOOK_PORT, "protocol": "TCP"},
            {"name": "peers", "containerPort": PEERS_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        # While the API server is away a new replica may find no keys: it is given ten minutes.
        "startupProbe": {"httpGet": well, "periodSeconds": 2, "failureThreshold": 300},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {"httpGet": well, "periodSeconds": 20, "timeoutSeconds": 5, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


OPTIONS = frozenset(
    {
        "--namespace",
        "--discovery-address",
        "--webhook-address",
        "--control-port",
        "--peers-address",
        "--health-address",
        "--cluster-domain",
        "--trust-domain",
        "--ca-secret",
        "--pod-cidr",
    }
)
"""What `_arguments` writes, each with a value."""


def _arguments(settings: InstallSettings) -> tuple[str, ...]:
    trust_domain = ("--trust-domain", settings.trust_domain) if settings.trust_domain else ()
    ca_secret = ("--ca-secret", settings.ca_secret) if settings.ca_secret else ()
    return (
        "controller",
        "--namespace",
        settings.namespace,
        "--discovery-address",
        f"[::]:{DISCOVERY_PORT}",
        "--webhook-address",
        f"[::]:{WEBHOOK_PORT}",
        "--control-port",
        str(CONTROL_PORT),
        "--peers-address",
        f"[::]:{PEERS_PORT}",
        "--health-address",
        f"[::]:{HEALTH_PORT}",
        "--cluster-domain",
        settings.cluster_domain,
        *trust_domain,
        *ca_secret,
        *(word for cidr in settings.pod_cidrs for word in ("--pod-cidr", cidr)),
        *settings.further,
    )
