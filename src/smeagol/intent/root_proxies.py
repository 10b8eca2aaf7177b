"""Root proxies: Pods that stand before a Canary's root and divide what clients without a proxy send there.

Such a Pod has a proxy and nothing else. It belongs to the mesh as every Pod with a proxy does, but nobody selects it,
and as an endpoint the mesh does not see it: what it answers would come back to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["ROOT_PROXY_OF", "ROOT_READINESS_PORT", "SLICE_MANAGER", "SLICE_MANAGER_LABEL", "listening_ports"]

ROOT_PROXY_OF: Final = "smeagol.dev/root-proxy-of"
"""Annotation of the Pods: the Canary whose root they stand before."""

SLICE_MANAGER_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER: Final = "root-proxies.smeagol.dev"
"""Who keeps the EndpointSlices that lead clients to root proxies (discovery.k8s.io/v1, EndpointSlice)."""

ROOT_READINESS_PORT: Final = 15020
"""Where a root proxy says that it has the root's listeners. Any proxy is ready without, if it has all else."""

_PRIVILEGED = 1024
_OWN = range(15000, 15100)
"""Where proxies listen for what they need themselves."""
_SHIFT = 20000


def listening_ports(numbers: Iterable[int]) -> dict[int, int]:
    """Where a root proxy listens for each port of its root: at the same one, unless that takes privileges or is a
    proxy's own."""
    wanted = sorted(set(numbers))
    same = {number: number for number in wanted if number >= _PRIVILEGED and number not in _OWN}
    found, taken = dict(same), set(same)
    for number in wanted:
        if number not in same:
            free = next(at for at in range(number + _SHIFT, 2**16) if at not in taken)
            found[number] = free
            taken.add(free)
    return dict(sorted(found.items()))
