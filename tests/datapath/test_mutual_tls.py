"""MutualTLS (docs/specification.md), with real Envoys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datapath.app import DialError
from datapath.harness import Mesh, running
from datapath.manifests import mutual_tls, pod, service

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-mutual-tls")]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with running(
        pod("web", "http:8080"),
        service("web"),
        pod("client"),
        pod("stranger", meshed=False),
        mutual_tls(),
        mutual_tls("client", {"app": "client"}, names=["client.example"]),
    ) as mesh:
        yield mesh


def test_plain_http_becomes_mutual_tls(mesh: Mesh) -> None:
    """SMI-MTLS-01: the application speaks HTTP; its server hears who it is, which only a verified certificate tells."""
    answer = mesh.app("client").get("http://web/")
    assert answer.identities == ["client.example,spiffe://cluster.local/ns/default/sa/default"]


def test_strict_refuses_plaintext(mesh: Mesh) -> None:
    """SMI-MTLS-19: nothing of what an unmeshed client sends reaches the application."""
    before = mesh.app("web").seen()
    with pytest.raises(DialError):
        mesh.app("stranger").get("http://web/")
    assert mesh.app("web").seen() == before
