"""The control plane that `smeagol install` has put into a cluster, and what its proxies show."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.images import Images
from e2e_kit.commands import smeagol

__all__ = ["CONTROL_PLANE", "SYSTEM", "Installed", "install", "shown_certificate"]

SYSTEM = "smeagol-system"
CONTROL_PLANE = ("-l", "app.kubernetes.io/component=controller")
"""What picks its Pods, and not those of the adapters."""
DEPLOYMENT = "deployment/smeagol-controller"
HEALTH_PORT = 18002


@dataclass(frozen=True, slots=True)
class Installed:
    """Its replicas, by the names of their Pods."""

    cluster: Cluster

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", SYSTEM, *arguments)

    @property
    def leader(self) -> str:
        """Whose name is in the Lease."""
        return self.kubectl("get", "lease", "smeagol", "-o", "jsonpath={.spec.holderIdentity}")

    @property
    def led_since(self) -> float:
        """When the leader began to lead (since 1970)."""
        moment = self.kubectl("get", "lease", "smeagol", "-o", "jsonpath={.spec.acquireTime}")
        return datetime.fromisoformat(moment).timestamp()

    def addresses(self) -> Mapping[str, str]:
        """Where each replica is, which answers there while the API server is away too."""
        listed = json.loads(self.kubectl("get", "pods", *CONTROL_PLANE, "-o", "json"))
        return {pod["metadata"]["name"]: pod["status"].get("podIP", "") for pod in listed["items"]}

    def until_another_leads(self, than: str) -> None:
        wait_for("another replica leads", lambda: self.leader not in ("", than), within_seconds=120)

    def until_rolled(self) -> None:
        """Return when two replicas are ready, and no other is there any more."""
        self.kubectl("rollout", "status", DEPLOYMENT, "--timeout=240s")
        wait_for("the old replicas have gone", lambda: len(self.addresses()) == 2, within_seconds=120)


def install(cluster: Cluster, images: Images, *further: str) -> None:
    """As users do, or once more with other options."""
    options = ["--image", images.controller.reference, "--proxy-image", images.proxy.reference]
    options += [word for cidr in cluster.pod_cidrs for word in ("--pod-cidr", cidr)]
    smeagol(cluster, "install", *options, *further, "--wait")


def counted(address: str, name: str) -> tuple[float, ...]:
    """The values that a replica tells of one metric, over all labels."""
    text = httpx2.get(f"http://{address}:{HEALTH_PORT}/metrics", trust_env=False, timeout=60).raise_for_status().text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return tuple(sample.value for sample in samples if sample.name == name)


def shown_certificate(address: str, port: int, *, roots: str) -> bytes | None:
    """The certificate that a Pod shows to whoever connects, if it leads to one of these roots (PEM)."""
    context = ssl.create_default_context(cadata=roots)
    context.check_hostname = False
    with socket.create_connection((address, port), timeout=60) as plain:
        try:
            with context.wrap_socket(plain) as encrypted:
                return encrypted.getpeercert(binary_form=True)
        except ssl.SSLCertVerificationError:
            return None
