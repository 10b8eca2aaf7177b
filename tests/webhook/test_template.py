"""What injected proxies start with: the real provider's bootstrap, as the kubelet completes it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from smeagol.intent import MeshIntent
from smeagol.plan import AppProbe, ProbeKind
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.binary import envoy_binary
from smeagol.webhook import bootstrap_template, injected
from webhook.pods import SETTINGS, container, named, pod

MESH = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local", pod_cidrs=())
TEMPLATE = bootstrap_template(provider, MESH, SETTINGS)
KNOWN = {"POD_NAMESPACE": "shop", "POD_NAME": "web-7d4b9c-x2x1f", "POD_IP": "10.1.2.3"}


def expanded(argument: str) -> str:
    """As the kubelet does it: `$(NAME)` if it knows the name, `$$` is `$` (core/v1 Container.args)."""
    return re.sub(
        r"\$(\$|\((\w+)\))",
        lambda found: "$" if found[1] == "$" else KNOWN.get(found[2], found[0]),
        argument,
    )


def arguments(before: dict[str, Any]) -> list[str]:
    """What Envoy is started with in that Pod."""
    return [expanded(argument) for argument in named(injected(before, SETTINGS, TEMPLATE), "smeagol-proxy")["args"]]


def config(before: dict[str, Any]) -> Any:
    return json.loads(arguments(before)[1])


def test_name_and_address_are_the_pods() -> None:
    """The node id is what the Pod's token is checked against: its namespace and name."""
    made = config(pod())
    assert made["node"]["id"] == "shop/web-7d4b9c-x2x1f"
    assert made["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "10.1.2.3"


def test_the_control_plane_is_reached_with_the_pods_token() -> None:
    discovery = json.dumps(config(pod())["dynamic_resources"])
    assert SETTINGS.discovery_address in discovery
    assert "/var/run/secrets/kubernetes.io/serviceaccount/token" in discovery
    assert "/var/run/secrets/kubernetes.io/serviceaccount/control-plane.crt" in discovery


@pytest.mark.parametrize("path", ["/$(POD_NAME)", "/$$x", "/a$b", "/<POD_IP>", '/"\\', "/$$(POD_IP)"])
def test_what_a_user_writes_is_never_expanded(path: str) -> None:
    """A probe's path with a dollar is that path, and none of ours."""
    made = json.dumps(config(pod(container(readinessProbe={"httpGet": {"path": path, "port": 80}}))))
    written = path.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace("\\", "%5C")
    assert json.dumps(f'"prefix_rewrite": "{written}"')[1:-1] in json.dumps(made)


def test_the_same_probes_are_translated_once() -> None:
    """The Pods of a Deployment come in hundreds."""
    probes = (AppProbe(kind=ProbeKind.TCP, port=1, path="/x"),)
    assert TEMPLATE(probes) is TEMPLATE((*probes,))


@pytest.mark.envoy
def test_envoy_starts_with_it(tmp_path: Path) -> None:
    """All of the command line, with each kind of probe: the real Envoy has no objection."""
    before = pod(
        container(
            readinessProbe={"httpGet": {"path": "/x?y=$z", "port": 8080}},
            livenessProbe={"tcpSocket": {"port": 6379}},
            startupProbe={"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}},
        ),
        container("b", readinessProbe={"grpc": {"port": 9000}}),
    )
    (tmp_path / "control-plane.crt").touch()
    command = [
        argument.replace("/var/run/secrets/kubernetes.io/serviceaccount", str(tmp_path))
        for argument in arguments(before)
    ]
    done = subprocess.run([envoy_binary(), "--mode", "validate", *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
