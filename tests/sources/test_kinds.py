"""How the API server's JSON becomes our narrow values."""

from __future__ import annotations

import json

import pytest

from smeagol.sources.kubernetes import kinds


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_pod_is_read_whatever_its_containers_restart_policies(policy: str) -> None:
    """Kubernetes 1.34: each container may have its own. A Pod that cannot be read would have no part in the mesh."""
    body = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "restartPolicy": policy}]}}
    assert kinds.PODS.decode(json.dumps(body).encode()).spec.containers[0].restart_policy == policy
