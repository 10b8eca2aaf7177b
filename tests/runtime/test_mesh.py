"""What the proxies hold follows the units, also where a proxy asked by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from providers.envoy.kit import workload
from smeagol.intent import InboundPort, MeshIntent, Protocol, TLSMode, WorkloadIntent
from smeagol.pki import FileSupply, LocalAuthority, MemoryKeyStore, StoreError, SuppliedAuthority
from smeagol.pki.certificates import new_intermediate, new_root
from smeagol.pki.pem import to_pem
from smeagol.providers.envoy import provider
from smeagol.refs import NodeId
from smeagol.runtime.dialled import Dialled, Key
from smeagol.runtime.mesh import Mesh
from smeagol.xds.subscription import Subscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


class Client:
    """A proxy that dials Pods by their addresses."""

    def __init__(self, mesh: Mesh[str]) -> None:
        self.node = NodeId("shop/client")
        self.woken = 0
        number = mesh.cache.attach(self)
        self.asks = Subscription(mesh.cache.collection(CLUSTER), self.node, number)

    def wake(self) -> None:
        self.woken += 1

    def told(self) -> dict[str, bool]:
        """What came since one last looked: by name, whether to dial by mutual TLS."""
        batch = self.asks.next_update()
        if batch is None:
            return {}
        self.asks.accepted()
        return {entry.name: b"UpstreamTlsContext" in entry.body for entry in batch.entries}


def a_mesh() -> Mesh[str]:
    authority = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=NOW)
    intent = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local")
    return Mesh(provider=provider, authority=authority, mesh=intent, clock=lambda: NOW)


def pod(mode: TLSMode | None, *ports: InboundPort, name: str = "web-1") -> WorkloadIntent:
    return workload(*ports, mode=mode, addresses=("10.0.0.1",), name=name)


@pytest.mark.parametrize("ports", [(), (InboundPort(number=80, protocol=Protocol.HTTP),)])
def test_what_a_proxy_was_told_of_an_address_is_corrected(ports: tuple[InboundPort, ...]) -> None:
    """MutualTLS, Outbound: to an endpoint with it by mutual TLS, to one without it as it was; both may change, by a
    MutualTLS that comes or goes, or by another Pod that gets the address.
    """
    mesh = a_mesh()
    client = Client(mesh)
    name = "pod/10.0.0.1:80"
    client.asks.want([name], {})
    assert client.told() == {name: False}
    for number, unit in enumerate((pod(TLSMode.STRICT, *ports), pod(None, *ports), pod(TLSMode.STRICT, *ports)), 1):
        mesh.carry_out(["web"], {"web": unit})
        assert client.told() == {name: unit.mode is not None}
        assert client.woken >= number
    mesh.carry_out(["web", "other"], {"other": pod(None, *ports, name="other")})
    assert client.told() == {name: False}


def test_ports_that_pass_by_the_proxy_are_dialled_in_plaintext() -> None:
    """SMI-MTLS-24: the proxy's own, and those that the Pod's owner excludes, from the moment they are."""
    mesh = a_mesh()
    client = Client(mesh)
    ports = {f"pod/10.0.0.1:{port}": port for port in (80, 9090, 15021, 15090)}
    client.asks.want(list(ports), {})
    client.told()
    told: dict[str, bool] = {}
    for passed in ((15021, 15090), (9090, 15021, 15090)):
        mesh.carry_out(["web"], {"web": replace(pod(TLSMode.STRICT), passed_ports=passed)})
        told |= client.told()
        assert told == {name: port not in passed for name, port in ports.items()}


def test_what_stays_true_is_not_told_again() -> None:
    mesh = a_mesh()
    client = Client(mesh)
    client.asks.want(["pod/10.0.0.1:80", "pod/10.0.0.2:80"], {})
    client.told()
    mesh.carry_out(["web"], {"web": pod(TLSMode.STRICT)})
    assert set(client.told()) == {"pod/10.0.0.1:80"}
    mesh.carry_out(["web"], {"web": pod(TLSMode.PERMISSIVE)})
    mesh.carry_out(["web", "other"], {"other": pod(TLSMode.STRICT, name="other")})
    assert client.told() == {}


def test_who_asks_for_ever_new_addresses_fills_no_memory() -> None:
    wanted: set[Key] = set()
    dialled = Dialled(wanted.__contains__)
    for number in range(10_000):
        key = ("t", str(number))
        wanted |= {key} if number % 100 == 0 else set()
        dialled.note(f"10.0.{number % 7}.1", key)
    assert len(dialled) < 2_000
    assert {key for n in range(7) for key in dialled.take(f"10.0.{n}.1")} == wanted
    assert len(dialled) == 0


async def test_roots_that_another_control_plane_has_taken_over_are_told(tmp_path: Path) -> None:
    """Even if what is handed over cannot be read by now, which is a problem of its own."""
    lifetime = timedelta(days=90)
    root, other = (new_root("cluster.local", now=NOW, lifetime=lifetime) for _ in range(2))
    made = new_intermediate(root, "cluster.local", now=NOW, lifetime=lifetime)
    (tmp_path / "tls.crt").write_bytes(to_pem([made.certificate]))
    (tmp_path / "tls.key").write_bytes(made.key_pem.reveal())
    (tmp_path / "ca.crt").write_bytes(to_pem([root.certificate]))
    store, supply = MemoryKeyStore(), FileSupply(tmp_path)
    ours, theirs = (SuppliedAuthority.open(store, supply, now=NOW) for _ in range(2))
    intent = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local")
    mesh: Mesh[str] = Mesh(provider=provider, authority=ours, mesh=intent, clock=lambda: NOW, alone=False)
    before = mesh.roots_digest

    (tmp_path / "ca.crt").write_bytes(to_pem([root.certificate, other.certificate]))
    theirs.maintain(now=NOW, bundle_acknowledged=False, last_old_leaf_expiry=None)
    (tmp_path / "tls.key").unlink()
    with pytest.raises(StoreError):
        await mesh.tend()
    assert "tls.key" in mesh.problem
    assert mesh.roots_digest != before
