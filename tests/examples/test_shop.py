"""The shop, as its README has it: gRPC, HTTP and server-first TCP through real proxies, and a stranger at the door."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx2
import msgspec
import pytest

from datapath.harness import Mesh, eventually
from smeagol.cli.logs import log_file
from smeagol.cli.meshes import pod_named
from smeagol.cli.status import status_text
from smeagol.control import Status

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("shop")]

SHOP = Path(__file__).parents[2] / "examples" / "shop"
SPIFFE = "spiffe://cluster.local/ns/shop/sa/default"
PODS = 7

PAGES = """
import sys, urllib.request
for _ in range(int(sys.argv[1])):
    print(urllib.request.urlopen("http://frontend/bob", timeout=30).read().decode().strip())
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Mesh]:
    base = Path(tempfile.mkdtemp(prefix="sme-"))
    mesh = Mesh(base)
    shutil.copytree(SHOP, mesh.folder, dirs_exist_ok=True)
    try:
        mesh.start()
        Mesh.alive.append(mesh)
        mesh.wait_for(_unready, seconds=180)
        yield mesh
        assert mesh.stop() == 0
    finally:
        if mesh in Mesh.alive:
            Mesh.alive.remove(mesh)
        mesh.kill()
        shutil.rmtree(base, ignore_errors=True)


def _unready(status: Status) -> str:
    waiting = [pod.name for pod in status.pods if not pod.ready or (pod.proxy is not None and not pod.proxy.synced)]
    for each in status.objects:
        condition = each.status.condition("Programmed")
        if condition is None or condition.status != "True":
            waiting.append(f"{each.kind} {each.name}")
    return ", ".join(waiting) if len(status.pods) == PODS else f"{PODS} Pods"


class Page(msgspec.Struct):
    caller: str
    catalog: dict[str, str | list[str]]
    cart: dict[str, str | list[str]]
    ledger: dict[str, str]


def pages(mesh: Mesh, count: int) -> list[Page]:
    """What bob sees, fetched by the customer's Pod."""
    output = mesh.exec("customer", "python3", "-c", PAGES, str(count), namespace="shop")
    assert output.code == 0, output.errors
    return [msgspec.json.decode(line, type=Page) for line in output.text.splitlines()]


def test_a_page_comes_from_http_grpc_and_tcp(shop: Mesh) -> None:
    """MutualTLS: every protocol goes through, also one in which the server speaks first."""
    (page,) = pages(shop, 1)
    assert page.cart["items"] == ["fish", "rope"]
    assert page.catalog["version"] in ("v1", "v2")
    assert page.ledger["greeting"] == "220 ledger ready"
    assert page.ledger["answer"].startswith("250 bob has been here")


def test_the_frontend_is_known_by_its_name(shop: Mesh) -> None:
    """MutualTLS: the verified names of the client's certificate reach the app, over HTTP and gRPC."""
    (page,) = pages(shop, 1)
    assert page.caller == SPIFFE  # the customer has no name of its own
    assert page.cart["asked by"] == f"frontend.shop.example,{SPIFFE}"
    assert page.catalog["asked by"] == f"frontend.shop.example,{SPIFFE}"


def test_calls_on_one_grpc_connection_are_divided(shop: Mesh) -> None:
    """Canary: 750m against 250m; the frontend keeps one channel open, and each call finds its own backend."""
    versions = Counter(str(page.catalog["version"]) for page in pages(shop, 60))
    assert versions["v1"] > versions["v2"] > 0


def test_only_the_permissive_cart_serves_a_stranger_and_without_a_name(shop: Mesh) -> None:
    """MutualTLS: an unmeshed client is refused by Strict, and served plain text by Permissive, without an identity."""
    output = shop.exec("visitor", "python3", "visitor.py", namespace="shop")
    cart, frontend, ledger = output.text.splitlines()
    assert json.loads(cart.removeprefix("cart: "))["asked by"] == "somebody without a name"
    assert frontend.startswith("frontend: refused")
    assert ledger.startswith("ledger: ")
    assert "220" not in ledger


def test_metric_labels_are_on_every_series_of_the_catalog_and_on_no_other(shop: Mesh) -> None:
    """Sidecar: metricLabels on the selected Pods' series; the others carry their Pods' own labels."""
    pages(shop, 5)

    def labelled() -> None:
        lines = [line for line in shop.metrics().splitlines() if line.startswith("smi_requests_total{")]
        goods = [line for line in lines if 'team="goods"' in line and 'region="shire"' in line]
        catalog = [line for line in lines if 'pod="catalog-' in line]
        assert catalog
        assert goods == catalog
        assert any('app="frontend"' in line for line in lines)

    eventually(labelled)


def test_viewers_read_what_a_real_mesh_says(shop: Mesh) -> None:
    """The same Structs on both ends of the socket: nothing that a viewer shows is empty by mistake."""
    status = shop.status()
    text = "\n".join(status_text(status, now=datetime.fromisoformat(status.mesh.started_at)))
    assert "catalog-v1 75%" in text
    assert "frontend.shop.example" in text
    assert "Permissive" in text
    customer = pod_named(status, "customer")
    log = log_file(shop.state / "logs" / f"{customer.namespace}_{customer.name}", "")
    assert '"catalog"' in log.read_text()


def smeagol(mesh: Mesh, *arguments: str, within: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command of this installation on this mesh; `within` is what comes after `--`."""
    command = [sys.executable, "-c", "from smeagol.cli import main; main()", *arguments]
    rest = ["--", *within] if within else []
    return subprocess.run(
        [*command, "--state-dir", str(mesh.state.parent), *rest], capture_output=True, text=True, timeout=120
    )


def test_a_proxy_tells_what_it_counts(shop: Mesh) -> None:
    found = smeagol(shop, "proxy", "stats", "shop/ledger", "--filter", "^server.live$")
    assert (found.returncode, found.stdout) == (0, "server.live: 1\n")
    assert smeagol(shop, "proxy", "stats", "shop/ledger", "--filter", "(").returncode == 1


def test_a_command_in_a_pod_ends_as_it_ends(shop: Mesh) -> None:
    """`smeagol exec`: its output, its exit code; whichever way it is named."""
    found = smeagol(shop, "exec", "shop/customer", within=("sh", "-c", "hostname; exit 3"))
    assert (found.returncode, found.stdout) == (3, "customer\n")


def test_latency_is_shown_once_the_proxies_have_counted_it(shop: Mesh) -> None:
    lines = [line.split() for line in smeagol(shop, "top", "--seconds", "6").stdout.splitlines()]
    frontend = next(cells for cells in lines if cells[:1] == ["shop/frontend"])
    assert frontend[2] == "100.00%"
    assert frontend[-1].endswith("ms")


def test_the_mesh_answers_its_user_alone(shop: Mesh) -> None:
    """The control socket is in a private folder; nobody else may ask, or run commands in Pods."""
    for name in ("smeagol.sock", "exec.sock"):
        assert (shop.state / name).stat().st_mode & 0o077 == 0
    assert shop.state.stat().st_mode & 0o077 == 0
    assert httpx2.get(shop.status().mesh.metrics_url, trust_env=False).status_code == 200
