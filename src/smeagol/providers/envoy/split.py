"""How one client proxy divides what it sends to a root port (spec: Canary); proxies do not coordinate.

Requests are divided by weighted clusters, at random per request. Connections are divided by endpoint weights within
one cluster, so that a change of weights moves nothing but its endpoints and open connections stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from google.protobuf.message import Message

from smeagol.intent import Backend, Endpoint, Split
from smeagol.providers.envoy.resources import assignment, lb_endpoint

__all__ = ["backend_assignment", "connection_assignment", "integer_weights", "request_weights"]

_MAX_TOTAL = 2**32 - 1
"""Envoy holds the sum of weights in 32 bits (route.v3.WeightedCluster, endpoint.v3.LbEndpoint)."""


def integer_weights(shares: Sequence[Fraction], *, limit: int = _MAX_TOTAL) -> tuple[int, ...]:
    """Whole numbers in the ratio of `shares`, smallest first choice: equal ratios give equal numbers.

    Exact where the sum fits in `limit`; else rounded, and then no positive share becomes zero.
    """
    scale = math.lcm(*(share.denominator for share in shares))
    exact = [int(share * scale) for share in shares]
    divisor = math.gcd(*exact) or 1
    exact = [weight // divisor for weight in exact]
    total = sum(exact)
    if total <= limit:
        return tuple(exact)
    room = limit - len(exact)
    return tuple(weight and max(1, weight * room // total) for weight in exact)


def request_weights(split: Split) -> tuple[tuple[Backend, int], ...]:
    """The backends that get requests, with whole-number weights; those of weight zero are not among them."""
    positive = _positive(split)
    weights = integer_weights([Fraction(backend.weight_milli) for backend in positive])
    return tuple(zip(positive, weights, strict=True))


def backend_assignment(name: str, split: Split, backend: Backend) -> Message:
    """A backend's endpoints, and as a second choice those of the others that get requests.

    So a request whose backend cannot be reached is answered by another one, before the route follows.
    """
    own = _addresses(backend.endpoints)
    others: dict[tuple[str, int], Endpoint] = {}
    for other in _positive(split):
        for endpoint in other.endpoints:
            key = (endpoint.address, endpoint.port)
            if key not in own:
                others.setdefault(key, endpoint)
    second = [[lb_endpoint(endpoint) for _, endpoint in sorted(others.items())]] if others else []
    return assignment(name, [lb_endpoint(endpoint) for endpoint in backend.endpoints], *second)


def connection_assignment(name: str, split: Split) -> Message:
    """The endpoints of all backends that get connections, weighted so that the backends' shares hold exactly.

    An endpoint that serves two backends gets the sum of what both would give it.
    """
    shares: dict[tuple[str, int], Fraction] = {}
    endpoints: dict[tuple[str, int], Endpoint] = {}
    for backend in _positive(split):
        for endpoint in backend.endpoints:
            key = (endpoint.address, endpoint.port)
            endpoints.setdefault(key, endpoint)
            shares[key] = shares.get(key, Fraction()) + Fraction(backend.weight_milli, len(backend.endpoints))
    keys = sorted(shares)
    weights = integer_weights([shares[key] for key in keys])
    return assignment(name, [lb_endpoint(endpoints[key], weight) for key, weight in zip(keys, weights, strict=True)])


def _positive(split: Split) -> list[Backend]:
    return [backend for backend in split.backends if backend.weight_milli > 0]


def _addresses(endpoints: Iterable[Endpoint]) -> set[tuple[str, int]]:
    return {(endpoint.address, endpoint.port) for endpoint in endpoints}
