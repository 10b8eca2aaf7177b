"""Certificate authorities outside the mesh, which hand it their intermediates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from e2e.cluster.cluster import Cluster
from e2e_kit.installed import SYSTEM
from smeagol.pki.certificates import Issuer, new_intermediate, new_root
from smeagol.pki.pem import to_pem

__all__ = ["CA_SECRET", "hand_over", "root_of"]

CA_SECRET = "mesh-ca"


def root_of(name: str) -> Issuer:
    """A new root, for a year."""
    return new_root(name, now=datetime.now(UTC), lifetime=timedelta(days=365))


def hand_over(cluster: Cluster, root: Issuer, *, key_of: Issuer | None = None) -> str:
    """A new intermediate of that root, as cert-manager writes it; with the wrong key if there is `key_of`."""
    made = new_intermediate(root, "cluster.local", now=datetime.now(UTC), lifetime=timedelta(days=90))
    certificate = to_pem([made.certificate]).decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": CA_SECRET, "namespace": SYSTEM},
        "stringData": {
            "tls.crt": certificate,
            "tls.key": (key_of or made).key_pem.reveal().decode(),
            "ca.crt": to_pem([root.certificate]).decode(),
        },
    }
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(secret))
    return certificate
