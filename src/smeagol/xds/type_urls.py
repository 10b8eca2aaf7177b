"""The resource types of the discovery protocol, and the order in which a proxy may learn of their changes.

Source: xDS protocol, "Resource types" and "Eventual consistency considerations".
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "FIRST",
    "LISTENER",
    "ROUTE",
    "SECRET",
    "WHOLE_WORLD",
    "WILDCARD_BY_SILENCE",
    "push_rank",
]

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type, no secret
_SCOPED_ROUTE: Final = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"

FIRST: Final = (SECRET, CLUSTER, ENDPOINT)
"""What listeners and routes refer to, so it goes before them when added, and after them when removed."""

_ORDER: Final = {url: rank for rank, url in enumerate((*FIRST, LISTENER, ROUTE))}

WHOLE_WORLD: Final = frozenset({CLUSTER, LISTENER})
"""In the state-of-the-world variant a response of these types replaces all that the proxy has of the type."""

WILDCARD_BY_SILENCE: Final = frozenset({CLUSTER, LISTENER, _SCOPED_ROUTE})
"""For these types, a client that has never named a resource wants all of them."""


def push_rank(type_url: str) -> int:
    """The place of a type in the order of additions; types without one come last."""
    return _ORDER.get(type_url, len(_ORDER))
