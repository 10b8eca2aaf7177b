"""Which certificates are out, which are due, and which root they lead to. Issues from memory; starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from smeagol.errors import SmeagolError
from smeagol.pki import LEAF_LIFETIME, Authority, Issued, due, next_wakeup
from smeagol.plan import CertificateRequest, ProxyProvider, ProxyResource
from smeagol.refs import NodeId, SubjectName

__all__ = ["Certificates", "InUse"]

log = structlog.get_logger(__name__)

RETRY_AFTER = timedelta(seconds=30)
"""How long a certificate that could not be issued waits for its next try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """A certificate that is out, as the rotation rules see it. Its bytes and key are in the cache alone."""

    request: CertificateRequest
    names: tuple[SubjectName, ...]
    serial: int
    root: str
    not_before: datetime
    not_after: datetime
    renew_at: datetime

    @classmethod
    def of(cls, request: CertificateRequest, issued: Issued) -> InUse:
        return cls(
            request=request,
            names=issued.names,
            serial=issued.serial,
            root=issued.root,
            not_before=issued.not_before,
            not_after=issued.not_after,
            renew_at=issued.renew_at,
        )


class Certificates:
    """Issues what the proxies want and renews it in time; what comes back are the SDS resources to publish."""

    def __init__(
        self,
        *,
        authority: Authority,
        provider: ProxyProvider,
        clock: Callable[[], datetime],
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> None:
        self._authority = authority
        self._provider = provider
        self._clock = clock
        self._lifetime = lifetime
        self._out: dict[NodeId, dict[str, InUse]] = {}  # by node and secret
        self._failed: dict[tuple[NodeId, str], tuple[CertificateRequest, datetime]] = {}
        self.issued_total = 0
        self.failures: dict[tuple[NodeId, str], SmeagolError] = {}

    def want(self, requests: Iterable[CertificateRequest]) -> tuple[ProxyResource, ...]:
        """Issue for new requests, and anew where the names of a secret changed."""
        return tuple(made for request in requests if (made := self._issue(request)) is not None)

    def forget(self, requests: Iterable[CertificateRequest]) -> tuple[CertificateRequest, ...]:
        """Stop renewing; returns those whose secret nobody wants any more (not replaced by another request)."""
        gone = []
        for request in requests:
            key = (request.node, request.secret)
            held = self.of(request.node).get(request.secret)
            waiting = self._failed.get(key)
            if (held is not None and held.request == request) or (waiting is not None and waiting[0] == request):
                self._drop(request)
                self._failed.pop(key, None)
                self.failures.pop(key, None)
                gone.append(request)
        return tuple(gone)

    def renew(self) -> tuple[ProxyResource, ...]:
        """Issue what is due now, the first to expire first, and retry what failed."""
        now = self._clock()
        again = [request for request, at in self._failed.values() if at <= now]
        return self.want([out.request for out in due(self.in_use, now)] + again)

    def renew_all(self) -> tuple[ProxyResource, ...]:
        """Issue everything anew, as after a new root has begun to sign."""
        return self.want([out.request for out in self.in_use])

    def next_due(self) -> datetime | None:
        """When `renew` has something to do."""
        times = [at for _, at in self._failed.values()]
        if (renewal := next_wakeup(self.in_use)) is not None:
            times.append(renewal)
        return min(times, default=None)

    @property
    def in_use(self) -> tuple[InUse, ...]:
        return tuple(issued for held in self._out.values() for issued in held.values())

    @property
    def nodes(self) -> Collection[NodeId]:
        """The proxies that have one; a live view."""
        return self._out.keys()

    def of(self, node: NodeId) -> Mapping[str, InUse]:
        """The certificates of one proxy, by the name of their secret."""
        return self._out.get(node, {})

    def _drop(self, request: CertificateRequest) -> None:
        held = self._out.get(request.node, {})
        held.pop(request.secret, None)
        if not held:
            self._out.pop(request.node, None)

    def _issue(self, request: CertificateRequest) -> ProxyResource | None:
        key = (request.node, request.secret)
        now = self._clock()
        try:
            issued = self._authority.issue(request.names, request.purpose, now=now, lifetime=self._lifetime)
        except SmeagolError as error:
            # An old certificate stays in use: it may live for hours, and the next try may succeed.
            self.failures[key] = error
            self._failed[key] = (request, now + RETRY_AFTER)
            log.error("certificate not issued", node=request.node, purpose=request.purpose.value, error=str(error))
            return None
        self.failures.pop(key, None)
        self._failed.pop(key, None)
        self._out.setdefault(request.node, {})[request.secret] = InUse.of(request, issued)
        self.issued_total += 1
        return self._provider.certificate(request, issued.chain_pem, issued.key_pem.reveal())
