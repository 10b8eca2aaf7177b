"""Names of Services, answered on the node (Kubernetes: DNS-Based Service Discovery, version 1.1.0).

`answer` is pure: it reads the Services themselves, so a new state is served by replacing one value. Nothing leads out
of the sandbox, so every name outside the cluster's domain is answered at once: it does not exist.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from smeagol.errors import SmeagolError
from smeagol.infra.host.desired import Endpoint, IPAddress, ServiceOnHost
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ServiceRef

__all__ = ["DnsError", "DnsServer", "Zone", "answer"]

PORT = 53
TTL_SECONDS = 5
MOST_ALIASES = 8
_UDP_BYTES = 1232
_IDLE_SECONDS = 10
_LENGTH = struct.Struct("!H")


class DnsError(SmeagolError):
    """The name server could not be started."""

    code = "SMI-H007"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """What the server answers from."""

    services: Mapping[ServiceRef, ServiceOnHost] = field(default_factory=dict)
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN


def answer(zone: Zone, query: dns.message.QueryMessage) -> dns.message.Message:
    """The answer to a query: addresses and ports of Services, or that there is no such name.

    A Service that is another name is answered by that (CNAME) and by what is there.
    """
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    name, kind = query.question[0].name, query.question[0].rdtype
    for _ in range(MOST_ALIASES):  # two may be names of each other
        if (other := _external_name(zone, _labels(name))) is None:
            break
        _add(response.answer, name, dns.rdatatype.CNAME, [str(other)])
        if kind == dns.rdatatype.CNAME:
            return response
        name = other
    found, ports = _addresses(zone, _labels(name)), _ports(zone, _labels(name))
    if found is None and ports is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        version = 4 if kind == dns.rdatatype.A else 6
        _add(response.answer, name, kind, (str(ip) for ip in found or () if ip.version == version))
    elif kind == dns.rdatatype.SRV:
        _add(response.answer, name, kind, ports or ())
    if not response.answer:
        # Without it, resolvers would not remember that there is nothing (RFC 2308).
        domain = f"{zone.cluster_domain}."
        soa = f"ns.dns.{domain} hostmaster.{domain} 1 7200 1800 86400 {TTL_SECONDS}"
        response.authority.append(dns.rrset.from_text(domain, TTL_SECONDS, "IN", "SOA", soa))
    return response


def _add(section: list[dns.rrset.RRset], name: dns.name.Name, kind: dns.rdatatype.RdataType, texts: object) -> None:
    values = tuple(dict.fromkeys(texts))  # type: ignore[call-overload]  # any iterable of text
    if values:
        section.append(dns.rrset.from_text_list(name, TTL_SECONDS, "IN", dns.rdatatype.to_text(kind), values))


def _labels(name: dns.name.Name) -> list[str]:
    return [label.decode("ascii", "replace").lower() for label in name.labels if label]


def _service(zone: Zone, labels: Sequence[str]) -> tuple[list[str], ServiceOnHost] | None:
    """The labels before `<service>.<namespace>.svc.<domain>`, and that Service."""
    suffix = ["svc", *zone.cluster_domain.lower().split(".")]
    rest = list(labels[: -len(suffix)])
    if list(labels[-len(suffix) :]) != suffix or len(rest) < 2:
        return None
    *before, name, namespace = rest
    service = zone.services.get(ServiceRef(namespace, name))
    return None if service is None else (before, service)


def _external_name(zone: Zone, labels: Sequence[str]) -> dns.name.Name | None:
    """What a name is another one for; None if it is none, or that could not be asked for."""
    found = _service(zone, labels)
    if found is None or found[0] or not found[1].external_name:
        return None
    try:
        return dns.name.from_text(found[1].external_name)
    except dns.exception.DNSException:
        return None


def _addresses(zone: Zone, labels: Sequence[str]) -> Sequence[IPAddress] | None:
    """The addresses behind a name; None if there is no such name."""
    found = _service(zone, labels)
    if found is None:
        return None
    before, service = found
    if service.cluster_ips:
        return None if before else service.cluster_ips
    endpoints = [endpoint for port in service.ports for endpoint in port.endpoints]
    if before:
        endpoints = [each for each in endpoints if [_host(each)] == before]
    # A headless Service without ready endpoints has no name at all.
    return [each.ip for each in endpoints] or None


def _ports(zone: Zone, labels: Sequence[str]) -> list[str] | None:
    """The SRV data of `_port._protocol.<service>…`; None if there is no such name."""
    if len(labels) < 2 or not (labels[0].startswith("_") and labels[1].startswith("_")):
        return None
    found = _service(zone, labels)
    if found is None or len(found[0]) != 2:
        return None
    service, domain = found[1], f"{service_name(found[1], zone)}."
    records: list[str] = []
    for port in service.ports:
        if [f"_{port.name}", f"_{port.protocol.lower()}"] != found[0]:
            continue
        if service.cluster_ips:
            records.append(f"0 100 {port.port} {domain}")
        else:
            records += [f"0 100 {each.port} {_host(each)}.{domain}" for each in port.endpoints]
    return records or None


def service_name(service: ServiceOnHost, zone: Zone) -> str:
    """The Service's full name in this zone."""
    return service.ref.fqdn(zone.cluster_domain)


def _host(endpoint: Endpoint) -> str:
    return endpoint.hostname or str(endpoint.ip).replace(".", "-").replace(":", "-")


class DnsServer:
    """Serves `zone`, which may be replaced at any time, on UDP and TCP port 53 of the addresses."""

    def __init__(self, addresses: Sequence[IPAddress], zone: Zone) -> None:
        self.zone = zone
        self._addresses = addresses
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            for address in map(str, self._addresses):
                transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=(address, PORT))
                self._stack.callback(transport.close)
                server = await asyncio.start_server(self._on_connection, address, PORT)
                self._stack.callback(server.close)
        except OSError as error:
            await self._stack.aclose()
            raise DnsError(f"DNS cannot be served: {error.strerror}", where=f"port {PORT}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def respond(self, wire: bytes, most_bytes: int | None) -> bytes | None:
        """The answer in bytes; None for what is not even a query. Longer ones than `most_bytes` say: ask by TCP."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if not isinstance(query, dns.message.QueryMessage) or len(query.question) != 1 or query.flags & dns.flags.QR:
            return None
        response = answer(self.zone, query)
        limit = 65535 if most_bytes is None else min(max(512, query.payload), most_bytes)
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                while True:
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    response = self.respond(await reader.readexactly(length), None)
                    if response is None:
                        break
                    writer.write(_LENGTH.pack(len(response)) + response)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or forgot us
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport is not an instance of its interface before Python 3.13.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = self._server.respond(data, _UDP_BYTES)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)
