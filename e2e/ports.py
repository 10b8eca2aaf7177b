"""Ports for programs that must be told theirs before they listen."""

from __future__ import annotations

import os
import random
import socket
from itertools import cycle

__all__ = ["free_port"]

# Below what Linux gives to connections by itself (from 32768 on, net.ipv4.ip_local_port_range): a port of those can go
# to anybody's connection between this look and the program's own.
_FIRST, _LAST = 20000, 29999

_WORKERS_AT_MOST = 32


def _of_this_process() -> range:
    """Processes of pytest-xdist, `gw0`, `gw1`, …, which draw all the time, have a part each: what one has drawn and
    does not listen on yet must not be drawn by another.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker.isdecimal():
        return range(_FIRST, _LAST + 1)
    share = (_LAST + 1 - _FIRST) // _WORKERS_AT_MOST
    first = _FIRST + int(worker) % _WORKERS_AT_MOST * share
    return range(first, first + share)


_PORTS = _of_this_process()
_IN_TURN = cycle(_PORTS)
for _ in range(random.randrange(len(_PORTS))):
    next(_IN_TURN)


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host`, an IPv4 address, that nobody listens on; another one each time."""
    while True:
        port = next(_IN_TURN)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
