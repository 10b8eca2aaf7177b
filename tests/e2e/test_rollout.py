"""The documented rollout on a real cluster, by kubectl, under constant load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapath.chance import assert_shares
from docs.pages import DOCS, ROOT, blocks
from e2e.cluster.cluster import Cluster
from e2e.cluster.images import BASE
from e2e.cluster.nodes import Node
from e2e_kit.shop import Shop

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]


@pytest.fixture
def shop(mesh: Cluster, meshed: str) -> Shop:
    """Deployment foobar-v1, Services foobar and foobar-v1, and a client that calls `foobar` 400 times a second."""
    shop = Shop(mesh, meshed)
    shop.apply("")
    shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    return shop


def test_the_documented_rollout_works_word_for_word(shop: Shop) -> None:
    """SMI-CAN-18, SMI-CAN-21: every step divides as it says, and no request fails in any of them."""
    shop.programmed("mutualtls/client")
    begun = time.time()
    assert set(shop.answers(400)) == {"v1"}

    shop.divide(v1="1", v2="0m")  # v2 does not exist yet
    assert set(shop.answers(400)) == {"v1"}

    shop.apply("v2")
    shop.await_rollout("v2")
    direct = shop.kubectl("exec", "client", "-c", "client", "--", "python3", "client.py", "get", "http://foobar-v2/")
    assert json.loads(direct)["version"] == "v2"
    assert set(shop.answers()) == {"v1"}

    shop.divide(v1="1", v2="500m")
    assert_shares(shop.answers(), {"v1": 2, "v2": 1})

    shop.divide(v2="500m")
    assert set(shop.answers()) == {"v2"}

    shop.kubectl("delete", "deployment/foobar-v1", "service/foobar-v1", "--wait=true")
    assert set(shop.answers()) == {"v2"}

    shop.kubectl("delete", "canaries.smi-spec.io/foobar")
    assert set(shop.answers()) == {"v2"}
    assert shop.failed(since=begun) == {}


def test_the_tutorial_does_what_it_says(mesh: Cluster, tmp_path: Path) -> None:
    """docs/tutorial-cluster.md, each command as it stands there: both versions answer when they should, the server
    knows the client, and the last question finds no request that failed.
    """
    for name in mesh.nodes:  # no registry can be reached from here
        node = Node(name=name, cluster=mesh.folder)
        node.ctr("images", "tag", "--force", BASE, "docker.io/library/python:3.13-slim")
    kubeconfig = tmp_path / "kubeconfig"  # the page changes its namespace
    shutil.copy(mesh.kubeconfig, kubeconfig)
    path = os.pathsep.join(map(str, (Path(sys.executable).parent, mesh.kubectl_program.parent, os.environ["PATH"])))
    page = [block.text for block in blocks(DOCS / "tutorial-cluster.md", "sh")]
    asked = "kubectl exec client -c client -- python3 client.py get http://foobar/\n"
    until = "SECONDS=0; until {} | grep client.foobar.example; do [ $SECONDS -lt 120 ]; sleep 1; done\n"
    again = until.format(asked.strip())  # as the page says
    (first,) = (number for number, text in enumerate(page) if asked in text)
    page[first] = page[first].replace(asked, again)
    # Moments are told in seconds, and nobody types so fast that what failed before is of the same one.
    clean = 'until [ "$(kubectl logs client -c client --tail 5 | grep -c \'"failed": 0,\')" = 5 ]; do sleep 0.2; done\n'
    (second,) = (number for number, text in enumerate(page) if text.startswith("begun="))
    page[second] = clean + page[second]
    at = next(number for number, text in enumerate(page) if "grep -v" in text)
    # grep ends with 1 where it finds nothing, as it should here; and there are lines to look through.
    page[at : at + 1] = [f"! {page[at]}", page[at].replace("grep -v", "grep -c")]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ---\n".join(page)],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.split("---\n")
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"version')]
    assert [answer["version"] for answer in answers] == ["v1", "v2"]
    assert said[at] == ""
    assert int(said[at + 1]) > 10
