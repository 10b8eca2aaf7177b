"""How one client proxy divides what it sends to a root port (spec: Canary); proxies do not coordinate.

Requests are divided by weighted clusters, at random per request. Connections are divided by endpoint weights within
one cluster, so that a change of weights moves nothing but its endpoints and open connections stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from google.protobuf.message import Message

from smeagol.intent import Backend, Endpoint, Split
from smeagol.providers.envoy.resources import assignment, lb_endpoint
from smeagol.refs import ServiceRef

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


def backend_assignment(name: str, split: Split, backend: Backend, cluster_domain: str) -> Message:
    """A backend's endpoints, and as a second choice those of the others that get requests.

    So a request whose backend cannot be reached is answered by another one, before the route follows.
    """
    own = _members([backend])
    others = {key: member for key, member in _members(_positive(split)).items() if key not in own}
    ranks = [own, others] if others else [own]
    return assignment(name, *([member.dialled(cluster_domain) for member in rank.values()] for rank in ranks))


def connection_assignment(name: str, split: Split, cluster_domain: str) -> Message:
    """The endpoints of all backends that get connections, weighted so that the backends' shares hold exactly.

    An endpoint that serves two backends gets the sum of what both would give it.
    """
    members = _members(_positive(split))
    weights = integer_weights([member.share for member in members.values()])
    return assignment(
        name,
        [member.dialled(cluster_domain, weight) for member, weight in zip(members.values(), weights, strict=True)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """An endpoint with the backend that it stands for, and its share in units of weight."""

    backend: ServiceRef
    endpoint: Endpoint
    share: Fraction

    def dialled(self, cluster_domain: str, weight: int | None = None) -> Message:
        return lb_endpoint(self.endpoint, server_name=self.backend.fqdn(cluster_domain), weight=weight)


def _members(backends: Iterable[Backend]) -> dict[tuple[str, int], _Member]:
    """By address and port, in this order. What several backends list stands for the first of them."""
    members: dict[tuple[str, int], _Member] = {}
    for backend in backends:
        for endpoint in backend.endpoints:
            key = (endpoint.address, endpoint.port)
            share = Fraction(backend.weight_milli, len(backend.endpoints))
            member = members.get(key) or _Member(backend=backend.service, endpoint=endpoint, share=Fraction())
            members[key] = replace(member, share=member.share + share)
    return dict(sorted(members.items()))


def _positive(split: Split) -> list[Backend]:
    return [backend for backend in split.backends if backend.weight_milli > 0]
