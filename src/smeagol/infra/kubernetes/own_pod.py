"""What is known of all Pods from the one that we run in."""

from __future__ import annotations

from pathlib import Path

__all__ = ["pods_have_ipv6"]

_GLOBAL_SCOPE = "00"


def pods_have_ipv6(addresses: Path = Path("/proc/net/if_inet6")) -> bool:
    """Whether this Pod has an IPv6 address by which others reach it: in a cluster of both families each Pod has one.

    `addresses`: a line for each: address, interface, length of the prefix, scope, flags, all hexadecimal, and name.
    """
    try:
        lines = addresses.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        return False
    return any(line.split()[3] == _GLOBAL_SCOPE for line in lines)
