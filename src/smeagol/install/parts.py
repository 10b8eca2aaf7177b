"""What the components of an installation have in common: names, labels, access, a Deployment of small safe Pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smeagol.api.documents import Json
from smeagol.install import resources
from smeagol.install.access import AccessRule
from smeagol.install.resources import OWN_LABELS, Manifest, Resource
from smeagol.install.settings import InstallSettings
from smeagol.intent.selection import INJECT_LABEL

__all__ = ["HEALTH_PORT", "Component", "own"]

HEALTH_PORT = 18002
"""Where the kubelet asks how a replica is, and Prometheus what it counts."""

USER_ID = 65532
"""`nonroot`, as in distroless images. A number, because the kubelet cannot know whether a name is root's."""


def own(
    resource: Resource, name: str, settings: InstallSettings, labels: Mapping[str, str], content: Mapping[str, Json]
) -> Manifest:
    """An object of a component, in the namespace of Smeagol if the kind has one."""
    return Manifest(
        resource=resource,
        name=name,
        namespace=settings.namespace if resource.namespaced else "",
        labels=labels,
        content=content,
    )


@dataclass(frozen=True, slots=True)
class Component:
    """`name`: of its Deployment and of all that belongs to it. `kind`: its component label."""

    name: str
    kind: str

    @property
    def selector(self) -> Mapping[str, str]:
        """The labels that find its Pods. A Deployment's selector can never be changed: nor can these."""
        return {
            "app.kubernetes.io/name": "smeagol",
            "app.kubernetes.io/component": self.kind,
            "app.kubernetes.io/instance": "smeagol",
        }

    def labels(self, settings: InstallSettings) -> dict[str, str]:
        return {**self.selector, "app.kubernetes.io/version": settings.version, **OWN_LABELS}

    def own(self, resource: Resource, settings: InstallSettings, **content: Json) -> Manifest:
        """One by the component's own name."""
        return own(resource, self.name, settings, self.labels(settings), content)

    def service(self, name: str, settings: InstallSettings, *ports: Json) -> Manifest:
        """Over replicas that are ready: one that is not has not seen the whole state, and must not be asked."""
        content: dict[str, Json] = {"spec": {"selector": dict(self.selector), "ports": list(ports)}}
        return own(resources.SERVICE, name, settings, self.labels(settings), content)

    def access(
        self, settings: InstallSettings, everywhere: Sequence[AccessRule], at_home: Sequence[AccessRule]
    ) -> tuple[Manifest, ...]:
        """Its account, whose token is given to the Pods that ask for it and not to whatever else is started under this
        name; and what it may do everywhere, and in its own namespace."""
        return (
            self.own(resources.SERVICE_ACCOUNT, settings, automountServiceAccountToken=False),
            self.own(resources.CLUSTER_ROLE, settings, rules=[rule.to_json() for rule in everywhere]),
            self.own(resources.CLUSTER_ROLE_BINDING, settings, **self._binding(resources.CLUSTER_ROLE, settings)),
            self.own(resources.ROLE, settings, rules=[rule.to_json() for rule in at_home]),
            self.own(resources.ROLE_BINDING, settings, **self._binding(resources.ROLE, settings)),
        )

    def _binding(self, role: Resource, settings: InstallSettings) -> dict[str, Json]:
        return {
            "roleRef": {"apiGroup": role.group, "kind": role.kind, "name": self.name},
            "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": settings.namespace}],
        }

    def network_policy(self, settings: InstallSettings, *ingress: Json) -> Manifest:
        """What may come in. Out is not limited: the API server's address is not known here."""
        return self.own(
            resources.NETWORK_POLICY,
            settings,
            spec={
                "podSelector": {"matchLabels": dict(self.selector)},
                "policyTypes": ["Ingress"],
                "ingress": list(ingress),
            },
        )

    def disruption_budget(self, settings: InstallSettings) -> Manifest:
        """One at a time. By `maxUnavailable`, so that a single replica can be moved; one that is ill holds nothing
        up."""
        return self.own(
            resources.POD_DISRUPTION_BUDGET,
            settings,
            spec={
                "selector": {"matchLabels": dict(self.selector)},
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        )

    def deployment(self, settings: InstallSettings, container: dict[str, Json]) -> Manifest:
        """Proxies that reconnect find a replica that knows everything: a new one is ready before an old one goes."""
        return self.own(
            resources.DEPLOYMENT,
            settings,
            spec={
                "replicas": settings.replicas,
                "selector": {"matchLabels": dict(self.selector)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": {**self.labels(settings), INJECT_LABEL: "disabled"}},
                    "spec": self._pod(container),
                },
            },
        )

    def _pod(self, container: dict[str, Json]) -> dict[str, Json]:
        return {
            "serviceAccountName": self.name,
            "automountServiceAccountToken": True,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **self._spread(),
            "containers": [container],
        }

    def _spread(self) -> dict[str, Json]:
        """Over nodes, and over zones where there are any. Preferences: on a cluster of one node both replicas must run.

        Not by two constraints: nodes that lack the label of one are left out of both (Kubernetes: topology spread
        constraints, conventions), so that without zones the nodes would not count either.
        """
        selector: Json = {"matchLabels": dict(self.selector)}
        zones: Json = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector}
        return {
            "topologySpreadConstraints": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "maxSkew": 1,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": selector,
                    "matchLabelKeys": ["pod-template-hash"],  # or those that a rollout takes away would count
                }
            ],
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": zones}]
                }
            },
        }

    def container(
        self,
        settings: InstallSettings,
        arguments: Sequence[str],
        *,
        ports: Mapping[str, int],
        env: Sequence[Json] = (),
    ) -> dict[str, Json]:
        """`env` beside the Pod's name, which is that of the replica; `ports` beside the one for health."""
        name_of_pod: Json = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        well: Json = {"port": "health", "path": "/healthz"}
        ready: Json = {"port": "health", "path": "/readyz"}
        return {
            "name": self.kind,
            "image": settings.image,
            "imagePullPolicy": "IfNotPresent",
            "args": list(arguments),
            "env": [name_of_pod, *env],
            "ports": [
                {"name": name, "containerPort": port, "protocol": "TCP"}
                for name, port in {**ports, "health": HEALTH_PORT}.items()
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
