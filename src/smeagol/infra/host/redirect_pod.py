"""The redirect rules for the Pod we are in: what the init container of a Pod with a proxy runs, once.

    python3 -m smeagol.infra.host.redirect_pod --uid 1337 --inbound-passed 15030 --outbound-passed 5432,3306

Needs NET_ADMIN and nothing else: no iptables, no shell, no package beyond Python's own. Running it again is as once.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from errno import EEXIST, EPERM, EPROTONOSUPPORT
from pathlib import Path

from smeagol.errors import SmeagolError
from smeagol.infra.host.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket
from smeagol.infra.host.redirect import INBOUND_SOURCES, ByUser, redirect_rules
from smeagol.infra.host.rtnl import add_address

__all__ = ["main", "redirect_pod"]

_LOOPBACK_WITHOUT_IPV6 = Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")


class NoRedirectError(SmeagolError):
    """The rules cannot be set in this Pod."""

    code = "SMI-H009"


def redirect_pod(uid: int, *, inbound_passed: Sequence[int] = (), outbound_passed: Sequence[int] = ()) -> None:
    """Send the TCP of the network namespace we are in through the proxy that runs as `uid`. Raises NoRedirectError."""
    rules = redirect_rules(proxy=ByUser(uid), inbound_passed=inbound_passed, outbound_passed=outbound_passed)
    try:
        _add_inbound_source()
        with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
            netfilter.batch(rules)
    except (NetlinkError, OSError) as error:
        what = error.what if isinstance(error, NetlinkError) else f"the kernel refused: {error.strerror}"
        raise NoRedirectError(what, where="redirect rules of the Pod", fix=_CURES.get(error.errno or 0, "")) from error


_CURES = {
    EPERM: "give the init container the capability NET_ADMIN; the namespace's Pod Security level must allow it",
    EPROTONOSUPPORT: "use nodes whose kernel has nf_tables, Linux 5.2 or newer",
}


def _add_inbound_source() -> None:
    """Give the loopback interface ::6, where the proxy's connections to its app come from; 127.0.0.6 it has."""
    if not _LOOPBACK_WITHOUT_IPV6.exists() or _LOOPBACK_WITHOUT_IPV6.read_text(encoding="ascii").strip() == "1":
        return
    loopback = socket.if_nametoindex("lo")
    with NetlinkSocket(NETLINK_ROUTE) as route:
        for address in INBOUND_SOURCES:
            if address.version == 6:
                try:
                    route.request(add_address(loopback, address))
                except NetlinkError as error:
                    if error.errno != EEXIST:
                        raise


def _ports(text: str) -> tuple[int, ...]:
    """`80,443`; empty for none."""
    ports = tuple(int(part) for part in text.split(",") if part)
    if any(not 0 < port < 65536 for port in ports):
        raise ValueError
    return ports


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once the rules are in force, 1 with a sentence on standard error if they cannot be."""
    parser = argparse.ArgumentParser(prog="smeagol.infra.host.redirect_pod", description=__doc__)
    parser.add_argument("--uid", type=int, required=True, help="user that the proxy runs as, and nobody else")
    parser.add_argument("--inbound-passed", type=_ports, default=(), help="ports that reach the application directly")
    parser.add_argument("--outbound-passed", type=_ports, default=(), help="ports that the application dials directly")
    given = parser.parse_args(arguments)
    try:
        redirect_pod(given.uid, inbound_passed=given.inbound_passed, outbound_passed=given.outbound_passed)
    except NoRedirectError as error:
        with suppress(OSError):  # for `kubectl describe pod`; not everywhere is there such a file
            Path("/dev/termination-log").write_text(str(error), encoding="utf-8")
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
