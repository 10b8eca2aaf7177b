"""Addresses of Pods and Services in standalone mode, as a network plug-in and the API server give them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from smeagol.errors import SmeagolError

__all__ = ["AddressPool", "AddressRefusedError", "Key", "PoolExhaustedError"]

Key: TypeAlias = tuple[str, str]
"""(namespace, name)"""


class PoolExhaustedError(SmeagolError):
    code = "SMI-R003"


class AddressRefusedError(SmeagolError):
    code = "SMI-R007"


RESERVED = (0, 1, 10)
"""Which addresses no Service may ask for: `kubernetes` and `kube-dns` have them in a cluster, DNS has the last here."""


@dataclass(slots=True)
class AddressPool:
    """Hands out the addresses of one network in turn, so that a freed one is not given away again at once.

    A proxy may for a moment still know the old owner of an address; the longer it rests, the better.
    """

    network: IPv4Network | IPv6Network
    first: int = 10
    _taken: dict[str, Key] = field(default_factory=dict)
    _next: int = 0
    _full: bool = False

    def take(self, owner: Key, wanted: str = "") -> str:
        """An address for `owner`: the wanted one, else the next free one.

        Raises AddressRefusedError if the wanted one is outside the network or another's, as the API server does.
        """
        if wanted:
            self._check(wanted, owner)
            self._taken[wanted] = owner
            return wanted
        size = min(self.network.num_addresses, 1 << 16) - self.first - 1
        for step in range(0 if self._full else size):
            address = str(self.network[self.first + (self._next + step) % size])
            if address not in self._taken:
                self._next += step + 1
                self._taken[address] = owner
                return address
        self._full = True  # whoever asks again, and everyone does, is not searched for again
        raise PoolExhaustedError(f"no address is left in {self.network}", where="/".join(owner))

    def _check(self, wanted: str, owner: Key) -> None:
        ip = ip_address(wanted)
        if ip not in self.network or int(ip) - int(self.network.network_address) in RESERVED:
            what = f"{wanted} cannot be had: it is outside {self.network}, or in use by the node itself"
        elif (other := self._taken.get(wanted, owner)) != owner:
            what = f"{wanted} belongs to {'/'.join(other)} already"
        else:
            return
        raise AddressRefusedError(
            what, where=f"Service {'/'.join(owner)}", fix="leave spec.clusterIP out, or choose a free one"
        )

    def free(self, address: str, owner: Key) -> None:
        """Take an address back, if it is the owner's."""
        if self._taken.get(address) == owner:
            del self._taken[address]
            self._full = False
