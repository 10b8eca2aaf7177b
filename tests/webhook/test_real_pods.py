"""Injected Pods on a real node: the rules hold, the kubelet's probes succeed under Strict, Jobs end.

A cluster of the test's own with one node; the control plane and the webhooks run on this machine beside it. The image
is made here: Debian with Python, Envoy, and the few modules that set the redirect rules.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datapath.admin import ADMIN_SEEKER
from e2e.cluster import images
from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e.cluster.places import cache_folder
from e2e.ports import free_port
from e2e_kit.apiserver import CLASS, ApiServer, smeagol
from smeagol.infra.kubernetes.connection import connect_blocking
from smeagol.plan import ADMIN_SOCKET
from smeagol.providers.envoy.binary import envoy_binary
from smeagol.runtime.secret_store import SecretKeyStore
from smeagol.webhook import trust_config_map
from webhook.pods import SETTINGS, container
from webhook.under_api_server import INIT, INJECT, PROXY, Json, Webhooks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.envoy,
    pytest.mark.netns,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("webhook"),
]

IMAGE = "smeagol.test/proxy-and-init:1"
SYSTEM = "smeagol-system"
SOURCES = Path(__file__).parents[2] / "src"
_SERVER = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080, bind='0.0.0.0')"
_ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).status)"


def image(folder: Path) -> Path:
    """An archive with one image for both of our containers."""
    layer = folder / "layer.tar"
    with tarfile.open(images.base()) as base:
        manifest = _blob(base, json.load(_member(base, "index.json"))["manifests"][0]["digest"])
        digest = json.loads(manifest)["layers"][0]["digest"]
        layer.write_bytes(_blob(base, digest))
    with tarfile.open(layer, "a") as tar:
        tar.add(envoy_binary(), "usr/bin/envoy")
        modules = [SOURCES / "smeagol" / name for name in ("__init__.py", "errors.py", "refs.py")]
        for module in (*modules, *(SOURCES / "smeagol/infra").rglob("*.py")):
            tar.add(module, f"usr/lib/python3/dist-packages/{module.relative_to(SOURCES)}")
    archive = folder / "image.tar"
    images.write_image(archive, IMAGE, layer, entrypoint=[])
    layer.unlink()
    return archive


def _member(tar: tarfile.TarFile, name: str) -> tarfile.ExFileObject:
    found = tar.extractfile(name)
    assert found is not None
    return found  # type: ignore[return-value]  # typeshed says IO[bytes]


def _blob(tar: tarfile.TarFile, digest: str) -> bytes:
    with _member(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}") as blob:
        return blob.read()


@contextmanager
def control_plane(cluster: Cluster, log: Path) -> Iterator[int]:
    """The control plane on this machine; gives the port where proxies reach it."""
    host = urlsplit(cluster.server).hostname
    port = free_port(host or "127.0.0.1")
    options = {
        "--kubeconfig": str(cluster.kubeconfig),
        "--namespace": SYSTEM,
        "--identity": "here",
        "--discovery-address": f"{host}:{port}",
        "--peers-address": f"{host}:0",
        "--health-address": "127.0.0.1:0",
        "--pod-cidr": "10.64.0.0/10",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", "from smeagol.cli import main; main()", "controller", "--verbose"]
            + [part for option in options.items() for part in option],
            stdout=out,
            stderr=out,
        )
    try:
        wait_for("the control plane serves", lambda: _listens(str(host), port), within_seconds=60)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def webhooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhooks]:
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("tests on a real node run in `make e2e` (SMEAGOL_E2E is not set)")
    if os.getuid() != 0 or not any(cache_folder().glob("kubernetes-*")):
        pytest.skip("a node needs root, and the programs that `make cluster` builds")
    folder = tmp_path_factory.mktemp("real-pods")
    with running(f"pods-{secrets.token_hex(4)}", nodes=1) as cluster:
        api = ApiServer(cluster)
        api.kubectl("apply", "--server-side", "-f", "-", stdin=smeagol("crds"))
        api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        api.apply(CLASS)
        cluster.load(image(folder))
        settings = replace(SETTINGS, proxy_image=IMAGE, init_image=IMAGE, image_pull_policy="Never")
        api.kubectl("create", "namespace", SYSTEM)
        with connect_blocking(cluster.kubeconfig) as client:
            keys = SecretKeyStore(client, namespace=SYSTEM, name="smeagol-authority")
            made = Webhooks(api, settings=settings, pod_cidrs=("10.64.0.0/10",), keys=keys)
        made.configure()
        with control_plane(cluster, folder / "controller.log") as port, made.running():
            api.apply(_discovery(str(urlsplit(cluster.server).hostname), port), SYSTEM)
            yield made


def _discovery(host: str, port: int) -> str:
    """The Service by which proxies know the control plane, led to this machine."""
    return f"""
    apiVersion: v1
    kind: Service
    metadata: {{name: smeagol-discovery}}
    spec: {{ports: [{{name: discovery, port: 18000}}]}}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {{name: smeagol-discovery-here, labels: {{kubernetes.io/service-name: smeagol-discovery}}}}
    addressType: IPv4
    endpoints: [{{addresses: [{host}], conditions: {{ready: true}}}}]
    ports: [{{name: discovery, port: {port}}}]
    """.replace("\n    ", "\n")


@pytest.fixture(scope="module")
def shop(webhooks: Webhooks) -> str:
    """A namespace in the mesh, under Strict, with a server behind the Service `web`; its proxy is there and ready."""
    api = webhooks.api
    namespace = webhooks.namespace(inject="enabled")
    roots = webhooks.authority.trust_bundle_pem
    api.apply(json.dumps(trust_config_map(namespace, own=roots, mesh=roots)), namespace)
    api.apply(
        "{apiVersion: smi-spec.io/v1beta1, kind: MutualTLS, metadata: {name: all}, spec: {selector: {}}}", namespace
    )
    api.service("web", namespace)
    api.apply(json.dumps(pod("web", container(**_serving()))), namespace)
    api.apply(json.dumps(pod("client", container(**_sleeping()))), namespace)
    api.apply(json.dumps(pod("stranger", container(**_sleeping()), inject="disabled")), namespace)
    try:
        api.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=180s")
    except ClusterError:
        print(api.kubectl("-n", namespace, "get", "pods,events", "-o", "wide"))
        print(api.kubectl("-n", namespace, "logs", "web", "-c", PROXY, "--tail=30"))
        raise
    return namespace


def _serving() -> Json:
    return {
        "image": images.BASE,
        "command": ["python3", "-c", _SERVER],
        "workingDir": "/usr/share",
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/usr/bin/python3"]}, "periodSeconds": 2},
    }


def _sleeping() -> Json:
    return {"image": images.BASE, "command": ["sleep", "100000"]}


def pod(name: str, app: Json, *, inject: str = "", **spec: object) -> Json:
    labels = {"app": name} | ({INJECT: inject} if inject else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [app], **spec},
    }


def ask(api: ApiServer, namespace: str, client: str, url: str) -> str:
    return api.kubectl("-n", namespace, "exec", client, "-c", "app", "--", "python3", "-c", _ASK, url).strip()


def test_probes_succeed_under_strict(webhooks: Webhooks, shop: str) -> None:
    """The Pod is Ready, which its HTTP and TCP probes decide; nothing was restarted."""
    status = webhooks.api.get("pod", "web", shop)["status"]
    states = [*status["initContainerStatuses"], *status["containerStatuses"]]
    assert {state["name"]: state["restartCount"] for state in states} == {INIT: 0, PROXY: 0, "app": 0}
    assert all(state["ready"] for state in states)


def test_meshed_clients_are_served_and_strangers_are_not(webhooks: Webhooks, shop: str) -> None:
    """By Service and by address; to the stranger nothing of the application answers."""
    address = webhooks.api.get("pod", "web", shop)["status"]["podIP"]
    wait_for("web answers", lambda: ask(webhooks.api, shop, "client", "http://web/") == "200", within_seconds=60)
    assert ask(webhooks.api, shop, "client", f"http://{address}:8080/") == "200"
    for url in ("http://web/", f"http://{address}:8080/"):
        with pytest.raises(ClusterError, match=r"Remote end closed|Connection reset|RemoteDisconnected"):
            ask(webhooks.api, shop, "stranger", url)


def test_a_probe_that_fails_is_seen_to_fail(webhooks: Webhooks, shop: str) -> None:
    """A port on which nobody listens is not ready, though the proxy listens for all."""
    silent = {**_sleeping(), "readinessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1}}
    webhooks.api.apply(json.dumps(pod("silent", container(**silent))), shop)

    def failing() -> bool:
        events = webhooks.api.items("events", shop)
        said = [e.get("message", "") for e in events if e["involvedObject"]["name"] == "silent"]
        return any("Readiness probe failed" in message for message in said)

    wait_for("the probe fails", failing, within_seconds=90)


def test_the_proxy_has_one_token_and_no_privilege(webhooks: Webhooks, shop: str) -> None:
    """As it is in the running container, not only in its manifest."""

    def inside(*command: str) -> str:
        return webhooks.api.kubectl("-n", shop, "exec", "client", "-c", PROXY, "--", *command)

    status = dict(line.split(":\t", 1) for line in inside("cat", "/proc/1/status").splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["1337"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert sorted(inside("ls", "/var/run/secrets/kubernetes.io/serviceaccount").split()) == [
        "control-plane.crt",
        "token",
    ]
    with pytest.raises(ClusterError, match="Read-only file system"):
        inside("touch", "/here")


def test_the_application_cannot_reach_the_admin_interface(webhooks: Webhooks, shop: str) -> None:
    """It is there, and in no place that the application's container sees: neither its files nor the Pod's network."""
    api = webhooks.api
    there = api.kubectl("-n", shop, "exec", "client", "-c", PROXY, "--", "ls", "-l", ADMIN_SOCKET)
    assert there.startswith("srw-------")
    answers = api.kubectl("-n", shop, "exec", "client", "-c", "app", "--", "python3", "-c", ADMIN_SEEKER)
    assert answers.split() == ["15021", "404", "15090", "404"]


def test_a_job_ends(webhooks: Webhooks, shop: str) -> None:
    """Its Pod has a proxy, through which it asks, and it completes."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "ask"},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [container(image=images.BASE, command=["python3", "-c", _ASK, "http://web/"])],
                }
            },
        },
    }
    webhooks.api.apply(json.dumps(job), shop)
    webhooks.api.kubectl("-n", shop, "wait", "--for=condition=Complete", "job/ask", "--timeout=180s")
    assert webhooks.api.kubectl("-n", shop, "logs", "job/ask", "-c", "app").strip() == "200"


def test_an_init_container_has_the_mesh(webhooks: Webhooks, shop: str) -> None:
    """As a migration that needs its database before the application starts."""
    setup = container("setup", image=images.BASE, command=["python3", "-c", _ASK, "http://web/"])
    webhooks.api.apply(json.dumps(pod("migrated", container(**_sleeping()), initContainers=[setup])), shop)
    webhooks.api.kubectl("-n", shop, "wait", "--for=condition=Ready", "pod/migrated", "--timeout=180s")
