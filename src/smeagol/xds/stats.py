"""What the server counts. Plain numbers; who runs the server exports them."""

from __future__ import annotations

from dataclasses import dataclass, field

from smeagol.durations import Durations

__all__ = ["Stats"]


@dataclass(slots=True)
class Stats:
    """Counters since the start, except where a comment says otherwise."""

    streams: int = 0  # now open and admitted
    waiting: int = 0  # now open and not yet admitted
    streams_opened: int = 0
    streams_refused: int = 0  # not authenticated
    requests: int = 0
    malformed_requests: int = 0
    stale_nonces: int = 0
    responses: int = 0
    response_bytes: int = 0
    resources_sent: int = 0
    acks: int = 0
    nacks: int = 0
    histories_lost: int = 0  # streams closed because the proxy lagged too far behind
    ack_latency: Durations = field(default_factory=Durations)  # of what was accepted, from its sending
    updates: int = 0  # of the cache, that changed something
