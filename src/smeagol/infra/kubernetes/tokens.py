"""Who a proxy is: its projected service account token, as the API server understands it (TokenReview).

The token is bound to one Pod, so a proxy can only ask for the identity of its own (Kubernetes: bound service account
tokens; authentication.k8s.io/v1). Answers are kept for a short while, by a hash of the token, never the token itself.

While the API server does not answer, a token that it has found valid before is still taken, until it expires and for an
hour at most: a proxy that reconnects to another replica must not be cut off by that. An answer always decides.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2
import msgspec
import structlog

from smeagol.refs import NodeId, PodRef

__all__ = ["AUDIENCE", "TokenReviewer"]

log = structlog.get_logger(__name__)

AUDIENCE = "smeagol"
"""What a proxy's token must be meant for; one for the API server itself proves nothing here."""

KEPT_SECONDS = 30.0
KEPT_MOST = 20_000
VOUCHED_SECONDS = 3600.0
"""So long at most a token is taken on its last review alone; the kubelet replaces those of proxies about as often."""
OUTAGE_SECONDS = 3.0
"""So long an answer is waited for where there is an earlier one to go by."""

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_USER_PREFIX = "system:serviceaccount:"


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: dict[str, tuple[str, ...]] = {}


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] = ()
    error: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


@dataclass(frozen=True, slots=True)
class _Known:
    """What was said of a token. `fresh_until` that is enough; `owner_until` it is while nobody can be asked."""

    owner: NodeId | None
    fresh_until: float
    owner_until: float


class TokenReviewer:
    """`owner_of(token)` for the discovery server. `clock`: seconds since 1970, as a token's expiry."""

    def __init__(
        self, client: httpx2.AsyncClient, *, audience: str = AUDIENCE, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._audience = audience
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def owner_of(self, token: str) -> NodeId | None:
        """The node (namespace/Pod) that the token stands for; None if it is not valid, not ours, or of no Pod.

        An API server that does not answer makes no token valid that was not before: its proxy tries again, and goes on
        with what it has.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known.fresh_until:
            return known.owner
        vouched = known is not None and known.owner is not None and self._clock() < known.owner_until
        try:
            status = await self._review(token, OUTAGE_SECONDS if vouched else None)
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            # The error's text could quote the request.
            log.warning("token not reviewed", error=type(error).__name__, goes_by_last_review=vouched)
            return known.owner if known is not None and vouched and _is_outage(error) else None
        owner = _owner(status, self._audience)
        self._keep(digest, owner, _expiry(token) if owner is not None else None)
        return owner

    async def _review(self, token: str, seconds: float | None) -> _Status:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        limit = httpx2.Timeout(seconds) if seconds is not None else httpx2.USE_CLIENT_DEFAULT
        answer = await self._client.post(_PATH, json=body, timeout=limit)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=_Review).status

    def _keep(self, digest: bytes, owner: NodeId | None, expiry: float | None) -> None:
        now = self._clock()
        fresh = now + KEPT_SECONDS
        self._known[digest] = _Known(
            owner,
            fresh_until=fresh if expiry is None else min(fresh, expiry),
            owner_until=now if expiry is None else min(now + VOUCHED_SECONDS, expiry),
        )
        self._known.move_to_end(digest)
        while len(self._known) > KEPT_MOST:
            self._known.popitem(last=False)


def _is_outage(error: Exception) -> bool:
    """Whether nobody has answered; a refusal, or an answer that is none, is not that."""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError)


class _Claims(msgspec.Struct, frozen=True):
    exp: float


def _expiry(token: str) -> float | None:
    """When a token that was found valid ends (RFC 7519, 4.1.4); None for one that does not say."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims).exp
    except ValueError:
        return None


def _owner(status: _Status, audience: str) -> NodeId | None:
    if not status.authenticated or audience not in status.audiences:
        return None
    account = status.user.username.removeprefix(_USER_PREFIX)
    namespace, _, _name = account.partition(":")
    extra: Mapping[str, tuple[str, ...]] = status.user.extra
    pods = extra.get(_POD_NAME, ())
    if account == status.user.username or not namespace or len(pods) != 1:
        return None
    return PodRef(namespace, pods[0]).node
