"""The certificate that the webhooks show to the API server, renewed in time without a restart.

The key lives in memory only. A new certificate goes into the TLS context that is in use: the next handshake shows it,
and connections that stand are not touched.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from smeagol.errors import SmeagolError

__all__ = ["KeyPair", "ServingCertificate"]

log = structlog.get_logger(__name__)

RETRY_SECONDS = 30.0

LOOK_SECONDS = 10.0
"""So often it is looked whether it is time: `renew` may make one that is due sooner, and while a machine sleeps, timers
stand still and certificates expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate with its chain and its key (PEM), and when to ask for the next one."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    renew_at: datetime


class ServingCertificate:
    """`context` is what a server serves with. `issue` makes a key pair for the names by which the API server dials."""

    def __init__(self, issue: Callable[[], KeyPair], *, clock: Callable[[], datetime]) -> None:
        """Raises what `issue` raises."""
        self._issue = issue
        self._clock = clock
        self._renew_at = clock()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.renew()

    def renew(self) -> None:
        """Show a new certificate from now on; called from outside once a new root has begun to sign."""
        pair = self._issue()
        _load(self.context, pair)
        self._renew_at = pair.renew_at

    async def keep_fresh(self) -> None:
        """Renew in time, until cancelled. One that cannot be renewed yet stays in use meanwhile."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, max(1.0, (self._renew_at - self._clock()).total_seconds())))
            if self._clock() < self._renew_at:
                continue
            try:
                self.renew()
            except SmeagolError as error:
                log.error("webhook certificate not renewed", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Python reads certificates from files only, so it gets one that no file system ever sees."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        path = Path(f"/proc/self/fd/{descriptor}")
        path.write_bytes(pair.chain_pem + pair.key_pem)
        context.load_cert_chain(path)
    finally:
        os.close(descriptor)
