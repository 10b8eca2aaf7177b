"""The Envoy provider: units of the intent become Envoy resources, the same bytes for every proxy wherever they can be.

ServiceIntent    outbound listeners, routes, clusters, endpoints: shared
WorkloadIntent   the Pod's inbound listener, or a root proxy's listeners, and its certificates: its own; its ports
                 dialled by address: on demand
MeshIntent       the outbound catcher and the detection behind undeclared ports: shared
CanaryIntent, MutualTLSIntent, SidecarIntent   nothing of their own: what they ask for is in the units above
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from smeagol.intent import (
    CanaryIntent,
    Fronted,
    MeshIntent,
    MutualTLSIntent,
    ServiceIntent,
    SidecarIntent,
    Unit,
    WorkloadIntent,
)
from smeagol.plan import (
    JSON,
    AppProbe,
    CertificateRequest,
    Feature,
    Plan,
    ProxyConnection,
    ProxyResource,
    Purpose,
)
from smeagol.providers.envoy.bootstrap import bootstrap, injected_bootstrap
from smeagol.providers.envoy.explain import explain
from smeagol.providers.envoy.inbound import detection_resources, workload_resources
from smeagol.providers.envoy.outbound import catcher_resources, pod_cluster, service_resources
from smeagol.providers.envoy.resources import CLUSTER_TYPE, host_port
from smeagol.providers.envoy.root_proxy import root_proxy_resources
from smeagol.providers.envoy.tls import CLIENT, SERVER, key_pair, trusted_roots
from smeagol.refs import NodeId

__all__ = ["Envoy", "provider"]


@dataclass(frozen=True, slots=True)
class Envoy:
    """A `ProxyProvider`."""

    name: str = "envoy"
    controller_name: str = "smeagol.dev/envoy"
    features: frozenset[Feature] = frozenset(Feature)

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case ServiceIntent():
                return Plan(resources=service_resources(unit))
            case WorkloadIntent(fronted=Fronted() as fronted):
                return Plan(resources=tuple(root_proxy_resources(unit, fronted)), certificates=_certificates(unit))
            case WorkloadIntent():
                return Plan(
                    resources=(*workload_resources(unit), *_dialled_by_address(unit)), certificates=_certificates(unit)
                )
            case MeshIntent():
                return Plan(resources=(*catcher_resources(unit), *detection_resources()))
            case CanaryIntent() | MutualTLSIntent() | SidecarIntent():
                return Plan()

    def bootstrap(self, workload: WorkloadIntent, mesh: MeshIntent, connection: ProxyConnection) -> bytes:
        """JSON; give the file a name that ends in `.json`."""
        return bootstrap(workload, mesh, connection)

    def injected_bootstrap(
        self, node: NodeId, address: str, mesh: MeshIntent, connection: ProxyConnection, probes: Sequence[AppProbe]
    ) -> bytes:
        return injected_bootstrap(node, address, mesh, connection, probes)

    def certificate(self, request: CertificateRequest, chain_pem: bytes, key_pem: bytes) -> ProxyResource:
        return key_pair(request.secret, chain_pem, key_pem, request.node)

    def trust_bundle(self, bundle_pem: bytes) -> ProxyResource:
        return trusted_roots(bundle_pem)

    def on_demand(
        self,
        type_url: str,
        name: str,
        mesh: MeshIntent,
        meshed: Callable[[str, int], bool] = lambda *_: False,
    ) -> ProxyResource | None:
        """A Pod port dialled by its own address: by mutual TLS if a proxy ends it there (`meshed`)."""
        dialled = _pod_port(name) if type_url == CLUSTER_TYPE else None
        if dialled is None:
            return None
        ip, port = dialled
        return pod_cluster(ip, port, mutual_tls=meshed(ip, port))

    def explain(self, resource: ProxyResource) -> JSON:
        return explain(resource)


def _dialled_by_address(workload: WorkloadIntent) -> tuple[ProxyResource, ...]:
    """The declared ports of a Pod that ends mutual TLS, for clients that dial its addresses."""
    if workload.mode is None:
        return ()
    return tuple(
        pod_cluster(ip, port.number, mutual_tls=True) for ip in workload.addresses for port in workload.inbound_ports
    )


def _certificates(workload: WorkloadIntent) -> tuple[CertificateRequest, ...]:
    client = CertificateRequest(workload.node, CLIENT, Purpose.CLIENT, workload.client_names)
    server = CertificateRequest(workload.node, SERVER, Purpose.SERVER, workload.server_names)
    return (client,) if workload.mode is None else (client, server)


def _pod_port(name: str) -> tuple[str, int] | None:
    """`pod/<address>:<port>`, as the catcher asks; an address that is not in canonical form is no name of ours."""
    kind, _, rest = name.partition("/")
    host, _, port = rest.rpartition(":")
    try:
        ip = ip_address(host[1:-1] if host.startswith("[") else host)
        number = int(port)
    except ValueError:
        return None
    valid = kind == "pod" and 0 < number < 65536 and name == f"pod/{host_port(str(ip), number)}"
    return (str(ip), number) if valid else None


provider = Envoy()
