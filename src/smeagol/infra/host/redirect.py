"""The rules that send a Pod's TCP through its proxy, and the proxy's own past it.

Everything TCP that leaves goes to the proxy's outbound port, everything that arrives to its inbound port, for IPv4 and
IPv6 alike; SO_ORIGINAL_DST tells the proxy where a connection was going. The proxy's own sockets are known by their
user where it has one for itself, as in a cluster, and by a mark where it has not: a rootless sandbox has one user only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from smeagol.infra.host.netlink import Message
from smeagol.infra.host.nft import (
    ChainType,
    Hook,
    Protocol,
    Verdict,
    add_chain,
    add_rule,
    add_table,
    answer,
    delete_table,
    is_from,
    is_marked,
    is_of_user,
    is_protocol,
    is_to,
    is_to_port,
    leaves_by,
    redirect_to,
)

__all__ = [
    "INBOUND_PORT",
    "INBOUND_SOURCES",
    "OUTBOUND_PORT",
    "PASSED_PORTS",
    "PROXY_MARK",
    "ByMark",
    "ByUser",
    "redirect_rules",
    "without_redirect_rules",
]

OUTBOUND_PORT = 15001
"""Where connections that a Pod opens arrive."""
INBOUND_PORT = 15006
"""Where connections to a Pod arrive."""
PASSED_PORTS = (15021, 15090)
"""Inbound ports that are the proxy's own: health and probes, metrics."""
PROXY_MARK = 1337
"""SO_MARK of the proxy's sockets (Envoy: upstream_bind_config.socket_options, level 1, name 36)."""
INBOUND_SOURCES = (IPv4Address("127.0.0.6"), IPv6Address("::6"))
"""Where the proxy's connections to its app come from, so that they reach the app and not the proxy again."""

_TABLE = "smeagol_redirect"
_DSTNAT = -100
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class ByMark:
    """The proxy's sockets carry this SO_MARK."""

    mark: int = PROXY_MARK


@dataclass(frozen=True, slots=True)
class ByUser:
    """The proxy's sockets belong to this user, who runs nothing else in the Pod."""

    uid: int


_BY_MARK = ByMark()


def redirect_rules(
    node: Sequence[IPv4Address | IPv6Address] = (),
    *,
    proxy: ByMark | ByUser = _BY_MARK,
    inbound_passed: Iterable[int] = (),
    outbound_passed: Iterable[int] = (),
) -> tuple[Message, ...]:
    """The rules for one Pod's network namespace, as one transaction; first match decides.

    Connections to and from `node` pass by the proxy: its control plane is there, which a proxy asks through a client
    that cannot mark its sockets (gRPC's own), and probes come from there, as the kubelet's do. No Pod has such an
    address, so nobody else gets around the proxy. `inbound_passed`, `outbound_passed`: further ports that pass by it.
    """
    of_proxy = is_marked(proxy.mark) if isinstance(proxy, ByMark) else is_of_user(proxy.uid)

    def inbound(*expressions: bytes) -> Message:
        return add_rule(_TABLE, "inbound", *expressions)

    def outbound(*expressions: bytes) -> Message:
        return add_rule(_TABLE, "outbound", *expressions)

    back = answer(Verdict.RETURN)
    not_tcp = is_protocol(Protocol.TCP, equal=False)
    return (
        *add_table(_TABLE),
        add_chain(_TABLE, "inbound", ChainType.NAT, Hook.PREROUTING, _DSTNAT),
        add_chain(_TABLE, "outbound", ChainType.NAT, Hook.OUTPUT, _DSTNAT),
        inbound(not_tcp, back),
        *(inbound(is_protocol(Protocol.TCP), is_to_port(port), back) for port in (*PASSED_PORTS, *inbound_passed)),
        *(inbound(is_from(ip), back) for ip in node),
        inbound(is_protocol(Protocol.TCP), redirect_to(INBOUND_PORT)),
        outbound(not_tcp, back),
        # The proxy hands a request to its app.
        *(outbound(leaves_by("lo"), is_from(source), back) for source in INBOUND_SOURCES),
        # The proxy dials its own Pod's address: a Service chose this Pod. It is inbound traffic like any other.
        *(
            outbound(
                leaves_by("lo"),
                of_proxy,
                is_to(own, equal=False),
                is_protocol(Protocol.TCP),
                redirect_to(INBOUND_PORT),
            )
            for own in _LOOPBACK
        ),
        # What containers say to each other on localhost is nobody's business.
        outbound(leaves_by("lo"), back),
        outbound(of_proxy, back),
        *(outbound(is_to(ip), back) for ip in node),
        *(outbound(is_protocol(Protocol.TCP), is_to_port(port), back) for port in outbound_passed),
        outbound(is_protocol(Protocol.TCP), redirect_to(OUTBOUND_PORT)),
    )


def without_redirect_rules() -> tuple[Message, ...]:
    """Undo `redirect_rules`, as one transaction."""
    return delete_table(_TABLE)
