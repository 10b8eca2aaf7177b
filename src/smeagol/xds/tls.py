"""How a server shows a certificate that is replaced while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

__all__ = ["TlsConfig", "server_credentials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """What the server shows, and whom it believes. PEM throughout."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes | None = None  # set: every client must show a certificate that these roots have issued


def server_credentials(newest: Callable[[], TlsConfig]) -> grpc.ServerCredentials:
    """The credentials of one port: `newest` is asked at each handshake. Clients must show a certificate if it says so
    now; later it must not change its mind about that.

    gRPC is told only what has changed: while it takes over a configuration, it may free the last one under the hands of
    another handshake (grpc/grpc#36693), and at each handshake of a reconnect storm that ends the process.
    """
    shown = first = newest()

    def if_changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        now = newest()
        if now == shown:
            return None
        shown = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(first),
        if_changed,  # type: ignore[arg-type]  # grpc-stubs do not know that it may be None
        first.client_ca is not None,
    )


def _configuration(tls: TlsConfig) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.private_key, tls.certificate_chain)], tls.client_ca)
