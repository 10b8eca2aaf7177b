"""What a port speaks (SMI-PORT)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.intent import Protocol
from smeagol.intent.protocols import agree, contradict, declared


@pytest.mark.parametrize(
    ("app_protocol", "port_name", "protocol"),
    [
        ("http", "", Protocol.HTTP),
        ("HTTP", "", Protocol.HTTP),
        ("http2", "", Protocol.HTTP2),
        ("kubernetes.io/h2c", "", Protocol.HTTP2),
        ("kubernetes.io/ws", "", Protocol.HTTP),
        ("kubernetes.io/wss", "", Protocol.TLS),
        ("grpc", "", Protocol.GRPC),
        ("grpc-web", "", Protocol.HTTP),
        ("tcp", "", Protocol.TCP),
        ("https", "", Protocol.TLS),
        ("tls", "", Protocol.TLS),
        ("mongo", "", Protocol.TCP),
        ("mysql", "", Protocol.TCP),
        ("redis", "", Protocol.TCP),
        ("", "http", Protocol.HTTP),
        ("", "http-web", Protocol.HTTP),
        ("", "http2-web", Protocol.HTTP2),
        ("", "grpc-api", Protocol.GRPC),
        ("", "grpc-web", Protocol.HTTP),
        ("", "grpc-website", Protocol.GRPC),
        ("", "https", Protocol.TLS),
        ("", "mysql", Protocol.TCP),
        ("", "redis-0", Protocol.TCP),
        ("", "httpish", Protocol.AUTO),
        ("", "web", Protocol.AUTO),
        ("", "", Protocol.AUTO),
    ],
)
def test_declaration(app_protocol: str, port_name: str, protocol: Protocol) -> None:
    """SMI-PORT-01: appProtocol says what a port speaks, else its name up to the first dash; letter case is ignored."""
    assert declared(app_protocol, port_name) is protocol


def test_app_protocol_before_name() -> None:
    """SMI-PORT-01: where both are given, appProtocol counts."""
    assert declared("tcp", "http") is Protocol.TCP


def test_unknown_app_protocol() -> None:
    """SMI-PORT-02: an unknown appProtocol is no declaration, and the name is not asked instead."""
    assert declared("example.com/own", "http") is Protocol.AUTO


@pytest.mark.parametrize(
    ("protocols", "result"),
    [
        ((), Protocol.AUTO),
        ((Protocol.HTTP, Protocol.TCP), Protocol.HTTP),
        ((Protocol.GRPC, Protocol.TLS), Protocol.GRPC),
        ((Protocol.HTTP2, Protocol.TCP), Protocol.HTTP2),
        ((Protocol.HTTP, Protocol.HTTP2), Protocol.HTTP),
        ((Protocol.TCP, Protocol.AUTO), Protocol.TCP),
        ((Protocol.HTTP, Protocol.AUTO), Protocol.HTTP),
    ],
)
def test_agreement(protocols: Sequence[Protocol], result: Protocol) -> None:
    """SMI-PORT-03: HTTP of any kind beats opaque bytes, and a declaration beats none."""
    assert {agree(order) for order in permutations(protocols)} == {result}


@given(st.lists(st.sampled_from(Protocol)))
def test_http_is_never_lost(protocols: list[Protocol]) -> None:
    """SMI-PORT-03: one declaration of HTTP is enough for the identity header to be safe."""
    assert agree(protocols).is_http == any(p.is_http for p in protocols)


def test_what_contradicts() -> None:
    """SMI-PORT-03: HTTP against opaque bytes is a contradiction; two kinds of HTTP, or no declaration, are none."""
    assert contradict(Protocol.HTTP, Protocol.TCP)
    assert contradict(Protocol.TLS, Protocol.GRPC)
    assert not contradict(Protocol.HTTP, Protocol.GRPC)
    assert not contradict(Protocol.AUTO, Protocol.TCP)
    assert not contradict(Protocol.TLS, Protocol.TCP)
