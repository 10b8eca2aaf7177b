"""A real API server with the peers' CRDs, which says what it thinks of objects: strict fields, schema, and CEL."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from e2e.cluster.cluster import Cluster, running
from e2e.cluster.errors import ClusterError
from e2e.cluster.places import cache_folder
from peers_kit.crds import crds
from smeagol.plan import JSON
from smeagol.plan.peer import ref_of

__all__ = ["PROJECTS", "Judge", "judge", "load"]

PROJECTS = ("gateway-api/standard", "istio", "linkerd", "kuma", "smi")


@dataclass(frozen=True)
class Judge:
    """An API server that is asked and not changed, but for namespaces."""

    cluster: Cluster

    def objections(self, objects: Iterable[Mapping[str, JSON]]) -> str:
        """Apply them, without keeping them, by server-side apply as `smeagol controller` does; empty if all is well."""
        given = list(objects)
        if not given:
            return ""
        for namespace in sorted({ref_of(obj).namespace for obj in given} - {""}):
            wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            self.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(wanted))
        documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": given})
        try:
            self.cluster.kubectl(
                "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=documents
            )
        except ClusterError as error:
            return str(error)
        return ""


def load(cluster: Cluster, *projects: str) -> None:
    """Bring the CRDs of these projects into a cluster; return when they are served."""
    definitions = crds(*projects)
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=documents)
    names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)


@contextmanager
def judge() -> Iterator[Judge]:
    """It ends with the block. Skips where the tests on Kubernetes are not asked for, or there are no CRDs."""
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("tests on a real API server run in `make e2e` (SMEAGOL_E2E is not set)")
    if not any(cache_folder().glob("kubernetes-*")) or not any(cache_folder().glob("etcd-*")):
        pytest.skip("no cluster programs are cached: `make cluster` builds them")
    crds("smi")  # skips before anything is started
    with running(f"judge-{secrets.token_hex(4)}") as cluster:
        load(cluster, *PROJECTS)
        yield Judge(cluster)
