"""The file a proxy starts with: who it is, where its control plane is, and what depends on the platform.

The cluster of the application is in it, not in discovery, because its sockets may need the platform's mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from smeagol.errors import SmeagolError
from smeagol.intent import MeshIntent, WorkloadIntent
from smeagol.plan import AppProbe, ProxyConnection
from smeagol.providers.envoy.inbound import IDENTITY
from smeagol.providers.envoy.metrics import INBOUND_STAT, STATS_CONFIG
from smeagol.providers.envoy.probes import ADMIN, probe_clusters, static_listeners
from smeagol.providers.envoy.protos import (
    POOL,
    Address,
    BindConfig,
    Bootstrap,
    Cluster,
    FileBasedMetadata,
    GrpcService,
    HttpProtocolOptions,
    InternalListener,
    LbEndpoint,
    TransportSocket,
    UpstreamTlsContext,
)
from smeagol.providers.envoy.resources import (
    ADS_WITHOUT_TIMEOUT,
    APP,
    address,
    assignment,
    extension,
    no_limits,
)
from smeagol.providers.envoy.tls import server_name_matcher
from smeagol.providers.envoy.transparent import http_options, upstream_http
from smeagol.refs import NodeId

__all__ = ["BadConnectionError", "bootstrap", "injected_bootstrap"]

_XDS = "xds"
_KEEPALIVE_SECONDS = 30
_CONNECT_TIMEOUT = timedelta(seconds=5)
_RECONNECT = {"retry_back_off": {"base_interval": timedelta(milliseconds=500), "max_interval": timedelta(seconds=5)}}
_SOL_SOCKET = 1
_SO_MARK = 36
_FLUSH_INTERVAL = timedelta(seconds=1)
"""How old a histogram may be that is read; counters are always fresh."""
_RUNTIME = Struct(
    fields={
        # An internal connection that HTTP closes after its answer is reset, and the answer is lost, in Envoy 1.40.
        "envoy.reloadable_features.enable_send_rst_on_user_space_socket": Value(bool_value=False),
    }
)
_SOURCE_4 = "127.0.0.6"
_SOURCE_6 = "::6"
"""The proxy dials its application from these addresses, so that redirect rules let the connection through."""


class BadConnectionError(SmeagolError):
    """The way to the control plane that was asked for cannot be had."""

    code = "SMI-E002"


def bootstrap(workload: WorkloadIntent, mesh: MeshIntent, connection: ProxyConnection) -> bytes:
    """The bootstrap of one proxy, as JSON. Raises BadConnectionError for what Envoy cannot do."""
    return _bootstrap(workload.node, workload.addresses, workload.addresses or mesh.families_of, connection)


def injected_bootstrap(
    node: NodeId, pod_address: str, mesh: MeshIntent, connection: ProxyConnection, probes: Sequence[AppProbe]
) -> bytes:
    """The same for a Pod that has no name and no address yet: what is given for them is only copied."""
    return _bootstrap(node, (pod_address,), mesh.families_of, connection, probes)


def _bootstrap(
    node: NodeId,
    addresses: Sequence[str],
    families_of: Sequence[str],
    connection: ProxyConnection,
    probes: Sequence[AppProbe] = (),
) -> bytes:
    """`families_of`: addresses or networks whose IP versions the Pod has; none, if they are not known."""
    mark = _mark(connection)
    to_app = _from_proxy(families_of, mark)
    admin = _pipe(connection.admin_socket)
    static_clusters = [_app(to_app), _admin(admin)]
    if probes:
        static_clusters += probe_clusters(probes, addresses[0], to_app)
    grpc = _grpc_service(connection, static_clusters)
    config = Bootstrap(
        node={"id": node, "cluster": "smeagol"},
        admin={"address": admin},
        cluster_manager={"upstream_bind_config": {"socket_options": mark}} if mark else None,
        dynamic_resources={
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [grpc],
            },
            # No timeout: a proxy without configuration is not ready, however long the control plane is away.
            "lds_config": ADS_WITHOUT_TIMEOUT,
            "cds_config": ADS_WITHOUT_TIMEOUT,
        },
        static_resources={"clusters": static_clusters, "listeners": static_listeners(addresses, probes)},
        bootstrap_extensions=[extension("internal_listener", InternalListener())],
        layered_runtime={"layers": [{"name": "static", "static_layer": _RUNTIME}]},
        # So that names appended to this header make one line, not two.
        inline_headers=[{"inline_header_name": IDENTITY, "inline_header_type": "REQUEST_HEADER"}],
        stats_config=STATS_CONFIG,
        stats_flush_interval=_FLUSH_INTERVAL,
    )
    return MessageToJson(config, preserving_proto_field_name=True, descriptor_pool=POOL).encode()


def _mark(connection: ProxyConnection) -> list[dict[str, object]]:
    """Socket options for all of the proxy's own connections."""
    if connection.socket_mark is None:
        return []
    return [{"level": _SOL_SOCKET, "name": _SO_MARK, "int_value": connection.socket_mark, "state": "STATE_PREBIND"}]


def _from_proxy(families_of: Sequence[str], mark: Sequence[dict[str, object]]) -> Message:
    """Where connections to the application come from.

    A bind configuration of a cluster replaces that of the cluster manager, so the mark is said again.
    """
    networks = [ip_network(item, strict=False) for item in families_of]
    ipv6 = not networks or any(network.version == 6 for network in networks)
    return BindConfig(
        source_address={"address": _SOURCE_4, "port_value": 0},
        extra_source_addresses=[{"address": {"address": _SOURCE_6, "port_value": 0}}] if ipv6 else [],
        socket_options=mark,
    )


def _app(bind: Message) -> Message:
    """The application: whatever port of this Pod was dialled."""
    return Cluster(
        name=APP,
        alt_stat_name=INBOUND_STAT,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=_CONNECT_TIMEOUT,
        circuit_breakers=no_limits(),
        upstream_bind_config=bind,
        typed_extension_protocol_options=http_options(),
    )


def _pipe(path: str) -> Message:
    """For the proxy's own user alone: the network of a Pod is its application's too."""
    return Address(pipe={"path": path, "mode": 0o600})


def _admin(where: Message) -> Message:
    return Cluster(
        name=ADMIN,
        type="STATIC",
        connect_timeout=_CONNECT_TIMEOUT,
        load_assignment=_single(ADMIN, where),
    )


def _single(name: str, where: Message) -> Message:
    return assignment(name, [LbEndpoint(endpoint={"address": where})])


def _grpc_service(connection: ProxyConnection, static_clusters: list[Message]) -> Message:
    """How discovery is asked for; adds the cluster it needs to `static_clusters`.

    With a token the stream is carried by Google's client, the only one that reads a token from a file for each
    stream; it knows neither clusters nor socket marks, so redirect rules must let the control plane's address pass.
    """
    host, _, port = connection.address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal():
        raise BadConnectionError(
            what=f"'{connection.address}' is not host:port", where="ProxyConnection.address", fix="write host:port"
        )
    if connection.token_file is None:
        static_clusters.append(_control_plane(connection, host, int(port)))
        return GrpcService(envoy_grpc={"cluster_name": _XDS}, retry_policy=_RECONNECT)
    if connection.ca_file is None:
        raise BadConnectionError(
            what="a token would travel in plaintext",
            where="ProxyConnection.token_file",
            fix="name the control plane's CA in ca_file too",
        )
    token = FileBasedMetadata(
        secret_data={"filename": connection.token_file}, header_key="authorization", header_prefix="Bearer "
    )
    authority = {"grpc.default_authority": {"string_value": connection.server_name}} if connection.server_name else {}
    return GrpcService(
        google_grpc={
            "target_uri": connection.address,
            "stat_prefix": _XDS,
            "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": connection.ca_file}}},
            "call_credentials": [{"from_plugin": extension("envoy.grpc_credentials.file_based_metadata", token)}],
            "credentials_factory_name": "envoy.grpc_credentials.file_based_metadata",
            "channel_args": {
                "args": {
                    "grpc.keepalive_time_ms": {"int_value": 1000 * _KEEPALIVE_SECONDS},
                    # The channel has a back-off of its own, up to two minutes: proxies would come back long after us.
                    "grpc.initial_reconnect_backoff_ms": {"int_value": 500},
                    "grpc.max_reconnect_backoff_ms": {"int_value": 5000},
                    "grpc.max_receive_message_length": {"int_value": -1},
                    **authority,
                }
            },
        },
        retry_policy=_RECONNECT,
    )


def _control_plane(connection: ProxyConnection, host: str, port: int) -> Message:
    try:
        ip_address(host)
        discovery = "STATIC"
    except ValueError:
        discovery = "STRICT_DNS"
    name = connection.server_name or host
    tls = UpstreamTlsContext(
        sni=name,
        common_tls_context={
            "validation_context": {
                "trusted_ca": {"filename": connection.ca_file},
                "match_typed_subject_alt_names": [server_name_matcher(name)],
            }
        },
    )
    keepalive = {"interval": timedelta(seconds=_KEEPALIVE_SECONDS), "timeout": timedelta(seconds=5)}
    options = HttpProtocolOptions(explicit_http_config={"http2_protocol_options": {"connection_keepalive": keepalive}})
    return Cluster(
        name=_XDS,
        type=discovery,
        connect_timeout=_CONNECT_TIMEOUT,
        load_assignment=_single(_XDS, address(host, port)),
        transport_socket=TransportSocket(**extension("tls", tls)) if connection.ca_file else None,
        typed_extension_protocol_options=upstream_http(options),
    )
