"""What a port speaks, from what its Services declare. A port's protocol is never what a client claims."""

from __future__ import annotations

from collections.abc import Iterable

from smeagol.intent.model import Protocol

__all__ = ["agree", "contradict", "declared"]

_HTTP = ("http", "grpc-web", "kubernetes.io/ws", "ws")
_HTTP2 = ("http2", "h2c", "kubernetes.io/h2c")
_TLS = ("https", "tls", "kubernetes.io/wss", "wss", "ssl", "grpcs", "ldaps", "amqps", "mqtts", "imaps", "smtps")
_TCP = (
    "tcp",
    "amqp",
    "cassandra",
    "ftp",
    "imap",
    "kafka",
    "ldap",
    "memcached",
    "mongo",
    "mongodb",
    "mqtt",
    "mssql",
    "mysql",
    "nats",
    "postgres",
    "postgresql",
    "redis",
    "smtp",
    "ssh",
    "zookeeper",
)

_KNOWN: dict[str, Protocol] = {
    **dict.fromkeys(_HTTP, Protocol.HTTP),
    **dict.fromkeys(_HTTP2, Protocol.HTTP2),
    "grpc": Protocol.GRPC,
    **dict.fromkeys(_TLS, Protocol.TLS),
    **dict.fromkeys(_TCP, Protocol.TCP),
}

_PRECEDENCE = (Protocol.HTTP, Protocol.GRPC, Protocol.HTTP2, Protocol.TCP, Protocol.TLS, Protocol.AUTO)
"""Who wins where Services contradict each other on one port of a Pod.

Any kind of HTTP beats opaque bytes: only as HTTP is a forged `x-sme-identity` removed. HTTP beats HTTP/2, because what
serves both must be taken to serve the older. A declaration beats none.
"""


def declared(app_protocol: str, port_name: str) -> Protocol:
    """What a Service port declares: its `appProtocol`, else its name up to the first `-` (`http`, `grpc-api`).

    An `appProtocol` that is not known is AUTO and the name is not asked: it says that the port speaks something else.
    Letter case does not count.
    """
    if app_protocol:
        return _KNOWN.get(app_protocol.lower(), Protocol.AUTO)
    name = port_name.lower()
    if f"{name}-".startswith("grpc-web-"):
        return Protocol.HTTP
    return _KNOWN.get(name.partition("-")[0], Protocol.AUTO)


def agree(protocols: Iterable[Protocol]) -> Protocol:
    """The one protocol of a port of a Pod that several Services declare, whatever their order; AUTO if none does."""
    return min(protocols, key=_PRECEDENCE.index, default=Protocol.AUTO)


def contradict(a: Protocol, b: Protocol) -> bool:
    """Do two declarations exclude each other in a way that matters for safety: HTTP against opaque bytes?"""
    return (a.is_http and b.is_opaque) or (a.is_opaque and b.is_http)
