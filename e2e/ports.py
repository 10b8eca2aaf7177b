"""Ports for programs that must be told theirs before they listen."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below what Linux gives to connections by itself (from 32768 on, net.ipv4.ip_local_port_range): a port of those can go
# to anybody's connection between this look and the program's own.
_FIRST, _LAST = 20000, 29999


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host`, an IPv4 address, that nobody listens on: drawn by lot, since others draw beside us."""
    while True:
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
