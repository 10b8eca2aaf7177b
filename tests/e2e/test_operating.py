"""Looking into a mesh in a cluster, and operating it: two replicas, real Pods with proxies, commands as users run them.

A cluster of the test's own with one node, and Smeagol in it as `smeagol install` puts it there.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from e2e.cluster import images
from e2e.cluster.cluster import running
from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e.cluster.places import cache_folder
from e2e.images import build_images
from e2e_kit.apiserver import ApiServer, canary
from e2e_kit.installed import CONTROL_PLANE, SYSTEM
from smeagol.cli import build
from smeagol.install.access import RESTARTER, granting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.envoy,
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("operating"),
]

PODS = "10.64.0.0/10"
_WAITS = "import signal; signal.pause()"
_SERVER = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080, bind='0.0.0.0')"
_CLIENT = """
import time, urllib.request
while True:
    try:
        urllib.request.urlopen("http://web/", timeout=30).read()
    except OSError as error:
        print(error, flush=True)
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Shop:
    """A namespace with a client that asks `web` again and again, which a Canary divides between v1 and v2."""

    api: ApiServer
    namespace: str

    def smeagol(self, *arguments: str) -> Result:
        return CliRunner().invoke(build(), [*arguments, "--kubeconfig", str(self.api.cluster.kubeconfig)])

    def says(self, *arguments: str) -> str:
        done = self.smeagol(*arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    def install(self) -> None:
        """Smeagol, or again."""
        built = build_images()
        given = ("--image", built.controller.reference, "--proxy-image", built.proxy.reference, "--pod-cidr", PODS)
        self.says("install", *given, "--adapter", "gateway-api", "--wait", "--timeout", "120")

    def deploy(self, name: str, program: str, *, ports: bool = False, grace: int = 1) -> None:
        self.run("Deployment", name, program, ports=ports, grace=grace)

    def run(
        self,
        kind: str,
        name: str,
        program: str,
        further: Mapping[str, Any] | None = None,
        *,
        ports: bool = False,
        grace: int = 1,
    ) -> None:
        """A program in a workload of a kind of apps/v1. `further`: fields of its spec."""
        app: dict[str, Any] = {"name": "app", "image": images.BASE, "command": ["python3", "-c", program]}
        if ports:
            app |= {"ports": [{"containerPort": 8080}], "workingDir": "/usr/share"}
            app |= {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
        labels = {"app": name}
        spec = {
            **(further or {}),
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": grace, "containers": [app]},
            },
        }
        workload = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.api.apply(json.dumps(workload), self.namespace)

    def await_rollouts(self, *workloads: str) -> None:
        for workload in workloads:
            self.api.kubectl("-n", self.namespace, "rollout", "status", workload, "--timeout=180s")


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("tests on a real node run in `make e2e` (SMEAGOL_E2E is not set)")
    if os.getuid() != 0 or not any(cache_folder().glob("kubernetes-*")):
        pytest.skip("a node needs root, and the programs that `make cluster` builds")
    with running(f"operating-{secrets.token_hex(4)}", nodes=1) as cluster:
        api = ApiServer(cluster)
        build_images().load_into(cluster)
        Shop(api, SYSTEM).install()
        made = Shop(api, api.namespace())
        api.kubectl("label", "namespace", made.namespace, "smi-spec.io/inject=enabled")
        mutual = "{apiVersion: smi-spec.io/v1beta1, kind: MutualTLS, metadata: {name: all}, spec: {selector: {}}}"
        api.apply(mutual, made.namespace)
        for name in ("web", "web-v1", "web-v2"):
            api.service(name, made.namespace, app="web-v1" if name == "web" else name)
        made.deploy("web-v1", _SERVER, ports=True)
        made.deploy("web-v2", _SERVER, ports=True)
        api.apply(canary("web", "web", v1="3", v2="1"), made.namespace)
        made.deploy("client", _CLIENT)
        try:
            made.await_rollouts("deployment/web-v1", "deployment/web-v2", "deployment/client")
        except Exception:
            print(api.kubectl("get", "pods,events", "-A", "-o", "wide"))
            raise
        yield made


def eventually(said: Callable[[], str], *wanted: str, seconds: float = 120) -> str:
    """What is said once all that is wanted is in it."""
    last = ""

    def there() -> bool:
        nonlocal last
        last = said()
        return all(part in last for part in wanted)

    try:
        wait_for(f"{wanted} is said", there, within_seconds=seconds)
    except Exception:
        print(last)
        raise
    return last


class TestLooking:
    """The commands that look into a standalone mesh look into a cluster, over the API server alone."""

    def test_status_is_of_all_replicas(self, shop: Shop) -> None:
        """Both are listed and one leads; every proxy is synced, whichever of them it is connected to."""

        def synced() -> bool:
            found = json.loads(shop.says("status", "-o", "json"))
            pods = [pod for pod in found["pods"] if pod["namespace"] == shop.namespace]
            return (
                sorted(replica["leads"] for replica in found["replicas"]) == [False, True]
                and len(pods) == 3
                and all(pod["proxy"]["synced"] for pod in pods)
            )

        wait_for("all proxies are synced, of both replicas", synced, within_seconds=120)
        text = shop.says("status", "-n", shop.namespace)
        assert "REPLICA" in text
        assert "web-v1 75%, web-v2 25%" in text

    def test_an_adapter_runs_beside(self, shop: Shop) -> None:
        """With the rights that it is given and no more: it has seen all there is, and tells what it lacks."""
        shop.api.kubectl("-n", SYSTEM, "rollout", "status", "deployment/smeagol-adapters", "--timeout=60s")
        query = "jsonpath={.status.conditions[?(@.type=='Accepted')].reason}"
        wait_for(
            "the class is answered",
            lambda: shop.api.kubectl("get", "providerclass", "gateway-api", "-o", query) == "UnsupportedPeer",
            within_seconds=120,
        )

    def test_describe_tells_events(self, shop: Shop) -> None:
        said = eventually(
            lambda: shop.says("describe", "canary", "web", "-n", shop.namespace), "Acknowledged by 3 proxies", "EVENT"
        )
        assert "web-v1" in said
        deployment = shop.says("describe", "deployment", "web-v1", "-n", shop.namespace)
        assert "synced" in deployment

    def test_top_and_edges_count_what_the_proxies_count(self, shop: Shop) -> None:
        """The client asks some twenty times a second; three of four requests go to v1."""
        said = eventually(
            lambda: shop.says("edges", "-n", shop.namespace, "-o", "json"), f"{shop.namespace}/web-v2", seconds=90
        )
        edges = {edge["backend"].partition("/")[2]: edge for edge in json.loads(said)}
        assert {"web-v1", "web-v2"} <= set(edges)
        assert edges["web-v1"]["mutualTLS"]
        top = shop.says("top", "--once", "--seconds", "6", "-n", shop.namespace)
        row = next(line for line in top.splitlines() if line.startswith(f"{shop.namespace}/web-v1"))
        assert float(row.split()[1]) > 1

    def test_the_proxy_shows_its_configuration_and_counters(self, shop: Shop) -> None:
        """Without keys; the counters are filtered by name."""
        config = shop.says("proxy", "config", "client", "-n", shop.namespace, "--type", "clusters")
        assert f"web-v1.{shop.namespace}.svc.cluster.local" in config
        secrets_ = shop.says("proxy", "config", "client", "-n", shop.namespace)
        assert "PRIVATE KEY" not in secrets_
        stats = shop.says("proxy", "stats", "client", "-n", shop.namespace, "--filter", "upstream_rq{")
        assert "web-v1" in stats
        assert all("upstream_rq{" in line for line in stats.splitlines())

    def test_logs_are_those_of_the_application(self, shop: Shop) -> None:
        said = shop.says("logs", "web-v1", "-n", shop.namespace)
        assert "GET / HTTP/1.1" in said

    def test_an_unprivileged_user_is_told_which_right_is_missing(self, shop: Shop) -> None:
        """A reader of everything who may not forward ports still gets the statuses, and why there is no more."""
        kubectl = shop.api.kubectl
        kubectl("-n", shop.namespace, "create", "serviceaccount", "reader")
        kubectl(
            "create",
            "clusterrole",
            "reader-of-all",
            "--verb=get,list",
            "--resource=*.*,pods,services,namespaces,events",
        )
        account = f"{shop.namespace}:reader"
        kubectl(
            "create",
            "clusterrolebinding",
            "reader-of-all",
            "--clusterrole=reader-of-all",
            f"--serviceaccount={account}",
        )
        token = kubectl("-n", shop.namespace, "create", "token", "reader").strip()
        config = shop.api.cluster.kubeconfig
        theirs = config.with_name("reader")
        text = kubectl("config", "view", "--raw", "-o", "json")
        view = json.loads(text)
        view["users"] = [{"name": view["users"][0]["name"], "user": {"token": token}}]
        theirs.write_text(json.dumps(view))
        done = CliRunner().invoke(build(), ["status", "-n", shop.namespace, "--kubeconfig", str(theirs)])
        assert "pods/portforward" in done.output
        assert "web-v1 75%, web-v2 25%" in done.output
        assert "unknown" in done.output

    def test_nothing_but_loopback_listens(self, shop: Shop) -> None:
        """The control API is not on the Pod's address."""
        one, other = shop.api.items("pods", SYSTEM, *CONTROL_PLANE)
        ask = f"import socket; socket.create_connection(('{one['status']['podIP']}', 18003), timeout=30)"
        with pytest.raises(ClusterError, match="ConnectionRefusedError"):
            shop.api.kubectl("-n", SYSTEM, "exec", other["metadata"]["name"], "--", "python3", "-c", ask)


class TestInstalling:
    """Again, which changes nothing."""

    def test_it_is_waited_until_pods_get_their_proxies(self, shop: Shop) -> None:
        """Replicas that are ready are not enough: the API server must ask them."""
        shop.api.kubectl("delete", "mutatingwebhookconfiguration", "smeagol")
        shop.install()
        assert "Pods get their proxies" in shop.says("check")


class TestPutting:
    """Pods into the mesh and out of it, by their owners."""

    def test_one_owner_out_and_in_again(self, shop: Shop) -> None:
        """Each time its Pods are replaced and looked at; a second time there is nothing to do."""
        out = shop.says("uninject", "deployment/web-v2", "-n", shop.namespace, "--wait")
        assert "all Pods have no proxy" in out
        assert "unchanged" in shop.says("uninject", "deployment/web-v2", "-n", shop.namespace)
        back = shop.says("inject", "deployment/web-v2", "-n", shop.namespace, "--wait")
        assert "all Pods have a proxy" in back

    def test_a_dry_run_restarts_nothing(self, shop: Shop) -> None:
        before = {pod["metadata"]["uid"] for pod in shop.api.items("pods", shop.namespace)}
        assert "Nothing was changed" in shop.says("uninject", "--all", "-n", shop.namespace, "--dry-run")
        assert {pod["metadata"]["uid"] for pod in shop.api.items("pods", shop.namespace)} == before

    def test_what_is_not_there_is_said(self, shop: Shop) -> None:
        assert "SMI-K121" in str(shop.smeagol("inject", "deployment/nobody", "-n", shop.namespace).exception)
        assert "SMI-K121" in str(shop.smeagol("inject", "web", "-n", shop.namespace).exception)


class TestAway:
    """Without a control plane the API server still tells what was last written."""

    def test_describe_works_and_says_who_is_away(self, shop: Shop) -> None:
        shop.api.kubectl("-n", SYSTEM, "scale", "deployment/smeagol-controller", "--replicas=0")
        shop.api.kubectl("-n", SYSTEM, "wait", "--for=delete", "pod", *CONTROL_PLANE, "--timeout=90s")
        try:
            said = shop.says("describe", "canary", "web", "-n", shop.namespace)
            assert "Programmed" in said
            assert "no control plane runs" in shop.says("status")
            done = shop.smeagol("top", "--once")
            assert "SMI-U005" in str(done.exception)
        finally:
            shop.api.kubectl("-n", SYSTEM, "scale", "deployment/smeagol-controller", "--replicas=2")
            shop.api.kubectl("-n", SYSTEM, "rollout", "status", "deployment/smeagol-controller", "--timeout=120s")


class TestRestarting:
    """SMI-POD-05: a Sidecar with `restart: true` has the owners of Pods without a proxy restarted."""

    def test_what_ran_before_the_sidecar_gets_its_proxy_by_one_rollout(self, shop: Shop) -> None:
        """Without `restart` it is named only, and so it is where Smeagol may not, with the command that lets it. What
        no Sidecar selects, and a Job's Pod, are left alone; and a new leader does nothing again.
        """
        kubectl = shop.api.kubectl
        before = Shop(shop.api, shop.api.namespace())
        for name in ("early", "other"):
            before.deploy(name, _WAITS)
        for kind, further in (("StatefulSet", {"serviceName": "db"}), ("DaemonSet", {})):
            before.run(kind, f"early-{kind.lower()}", _WAITS, further)
        kubectl("-n", before.namespace, "create", "job", "early", f"--image={images.BASE}", "--", "sleep", "600")
        early = ("deployment/early", "statefulset/early-statefulset", "daemonset/early-daemonset")
        before.await_rollouts(*early, "deployment/other")

        def generations(*owners: str) -> set[str]:
            query = "jsonpath={.metadata.generation}"
            return {kubectl("-n", before.namespace, "get", owner, "-o", query) for owner in owners}

        def programmed() -> str:
            query = "jsonpath={.status.conditions[?(@.type=='Programmed')]['status','message']}"
            return kubectl("-n", before.namespace, "get", "sidecars.smi-spec.io", "early", "-o", query)

        def sidecar(restart: str) -> None:
            spec = f"{{selector: {{matchExpressions: [{{key: app, operator: NotIn, values: [other]}}]}}{restart}}}"
            meta = "apiVersion: smi-spec.io/v1beta1, kind: Sidecar, metadata: {name: early}"
            shop.api.apply(f"{{{meta}, spec: {spec}}}", before.namespace)

        sidecar("")
        eventually(programmed, "without a proxy", "early-", "kubectl rollout restart")
        job = kubectl("-n", before.namespace, "get", "pods", "-l", "job-name=early", "-o", "name")
        sidecar(", restart: true")
        bind = granting(RESTARTER, before.namespace, system=SYSTEM)
        eventually(programmed, "Smeagol may not restart", bind)
        eventually(lambda: before.says("describe", "sidecar", "early", "-n", before.namespace), "NotRestarted", bind)
        assert generations(*early) == {"1"}

        kubectl(*bind.split()[1:])
        wait_for("all are restarted", lambda: generations(*early) == {"2"}, within_seconds=90)
        before.await_rollouts(*early)
        pods = shop.api.items("pods", before.namespace, "-l", "app!=other,!job-name")
        running = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        assert len(running) == 3
        assert all("smeagol-proxy" in json.dumps(pod["spec"]) for pod in running)
        eventually(lambda: before.says("describe", "sidecar", "early", "-n", before.namespace), "Restarted")
        eventually(programmed, "1 of 4 Pods runs without a proxy", "restart what else owns Pods")  # the Job's
        assert kubectl("-n", before.namespace, "get", "pods", "-l", "job-name=early", "-o", "name") == job

        # A new leader knows nothing of it: what it restarts shows that it has looked.
        kubectl("-n", SYSTEM, "rollout", "restart", "deployment/smeagol-controller")
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/smeagol-controller", "--timeout=120s")
        kubectl("label", "namespace", before.namespace, "smi-spec.io/inject=disabled")
        for name in ("late", "paused"):
            before.deploy(name, _WAITS)
        before.await_rollouts("deployment/late", "deployment/paused")
        kubectl("-n", before.namespace, "rollout", "pause", "deployment/paused")
        kubectl("label", "namespace", before.namespace, "smi-spec.io/inject-")
        wait_for("what came late is restarted", lambda: generations("deployment/late") == {"2"}, within_seconds=90)
        eventually(programmed, "paused has the restart in its template", "kubectl rollout resume")
        assert (generations(*early), generations("deployment/other")) == ({"2"}, {"1"})
