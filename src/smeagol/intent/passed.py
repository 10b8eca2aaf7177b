"""Ports of a Pod that pass by its proxy: what the proxy itself listens on, and what the Pod's owner excludes.

Redirect rules leave them alone, so what a client sends there arrives as it was sent: they are dialled in plaintext.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from smeagol.objects import Pod

__all__ = [
    "EXCLUDE_INBOUND",
    "EXCLUDE_OUTBOUND",
    "INBOUND_PASSED",
    "INIT_CONTAINER",
    "METRICS_PORT",
    "PROXY_PORTS",
    "READINESS_PORT",
    "excluded_ports",
    "passed_ports",
    "port_list",
]

READINESS_PORT: Final = 15021
"""Where every proxy says whether it is ready, to anyone who asks, and answers probes."""
METRICS_PORT: Final = 15090
"""Where every proxy gives its metrics."""
PROXY_PORTS = frozenset({READINESS_PORT, METRICS_PORT})

EXCLUDE_INBOUND = "smeagol.dev/exclude-inbound-ports"
"""Annotation of a Pod: ports that clients reach past the proxy."""
EXCLUDE_OUTBOUND = "smeagol.dev/exclude-outbound-ports"
"""Annotation of a Pod: ports that its application dials past the proxy."""


INIT_CONTAINER: Final = "smeagol-init"
"""Name of the container that sets the redirect rules of an injected Pod, once, when it starts."""
INBOUND_PASSED: Final = "--inbound-passed"
"""Argument of that container: the ports to which its rules let clients pass."""


def port_list(text: str) -> tuple[int, ...]:
    """Ports with commas between them, sorted. Raises ValueError, which says what it is not."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdecimal() and len(part) < 6 and 0 < int(part) < 65536 for part in parts):
        raise ValueError("a list of ports")
    return tuple(sorted(set(map(int, parts))))


def excluded_ports(annotations: Mapping[str, str], annotation: str) -> tuple[int, ...]:
    """What a Pod's annotation excludes. One that does not read excludes nothing: no Pod is made with it."""
    with suppress(ValueError):
        return port_list(annotations.get(annotation, ""))
    return ()


def passed_ports(pod: Pod) -> frozenset[int]:
    """The ports of a Pod that its proxy, if it has one, does not see.

    Of an injected Pod, what its rules were made with: they stay as they are while it runs, as its containers do,
    whatever becomes of its annotations.
    """
    for container in pod.spec.init_containers:
        if container.name == INIT_CONTAINER:
            args = container.args
            given = args[args.index(INBOUND_PASSED) + 1 :][:1] if INBOUND_PASSED in args else ()
            with suppress(ValueError):
                return PROXY_PORTS | set(port_list(",".join(given)))
    return PROXY_PORTS | set(excluded_ports(pod.metadata.annotations, EXCLUDE_INBOUND))
