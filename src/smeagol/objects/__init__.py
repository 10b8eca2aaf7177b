"""The Kubernetes objects the mesh reads, narrowed to the fields it reads.

Only these fields are kept, because the cache's model decides what a control plane weighs: 50,000 Pods take 118 MB
so, and half a gigabyte to several as full models. Field names and meanings are those of Kubernetes
(core/v1, apps/v1, discovery.k8s.io/v1); unknown fields are ignored.
"""

from __future__ import annotations

from smeagol.objects.core import (
    Container,
    ContainerPort,
    Deployment,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    EnvVar,
    ExecAction,
    HTTPGetAction,
    Metadata,
    Namespace,
    OwnerReference,
    Pod,
    PodSpec,
    PodStatus,
    Probe,
    Service,
    ServiceAccount,
    ServicePort,
    TCPSocketAction,
)

__all__ = [
    "Container",
    "ContainerPort",
    "Deployment",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "EnvVar",
    "ExecAction",
    "HTTPGetAction",
    "Metadata",
    "Namespace",
    "OwnerReference",
    "Pod",
    "PodSpec",
    "PodStatus",
    "Probe",
    "Service",
    "ServiceAccount",
    "ServicePort",
    "TCPSocketAction",
]
