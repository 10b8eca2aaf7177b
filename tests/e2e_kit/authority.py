"""Certificate authorities outside the mesh, which hand it their intermediates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from e2e.cluster.cluster import Cluster
from e2e_kit.installed import SYSTEM
from pki_kit.handing import pair
from smeagol.pki.certificates import Issuer, new_root

__all__ = ["CA_SECRET", "hand_over", "root_of"]

CA_SECRET = "mesh-ca"


def root_of(name: str) -> Issuer:
    """A new root, for a year."""
    return new_root(name, now=datetime.now(UTC), lifetime=timedelta(days=365))


def hand_over(cluster: Cluster, root: Issuer, *, key_of: Issuer | None = None) -> str:
    """A new intermediate of that root, as cert-manager writes it; with the wrong key if there is `key_of`."""
    made = pair(root, now=datetime.now(UTC))
    certificate = made.certificate_pem.decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": CA_SECRET, "namespace": SYSTEM},
        "stringData": {
            "tls.crt": certificate,
            "tls.key": (key_of or made).key_pem.reveal().decode(),
            "ca.crt": made.bundle_pem.decode(),
        },
    }
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(secret))
    return certificate
