"""Who a proxy is: its projected service account token, as the API server understands it (TokenReview).

The token is bound to one Pod, so a proxy can only ask for the identity of its own (Kubernetes: bound service account
tokens; authentication.k8s.io/v1). Answers are kept for a short while, by a hash of the token, never the token itself.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

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


class TokenReviewer:
    """`owner_of(token)` for the discovery server."""

    def __init__(
        self, client: httpx2.AsyncClient, *, audience: str = AUDIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._audience = audience
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, NodeId | None]] = OrderedDict()

    async def owner_of(self, token: str) -> NodeId | None:
        """The node (namespace/Pod) that the token stands for; None if it is not valid, not ours, or of no Pod.

        An API server that does not answer makes no token valid: the proxy tries again, and goes on with what it has.
        """
        digest = hashlib.sha256(token.encode()).digest()
        kept = self._known.get(digest)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            answer = await self._client.post(_PATH, json=body)
            answer.raise_for_status()
            status = msgspec.json.decode(answer.content, type=_Review).status
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("token not reviewed", error=type(error).__name__)  # its text could quote the request
            return None
        owner = _owner(status, self._audience)
        self._keep(digest, owner)
        return owner

    def _keep(self, digest: bytes, owner: NodeId | None) -> None:
        self._known[digest] = (self._clock() + KEPT_SECONDS, owner)
        self._known.move_to_end(digest)
        while len(self._known) > KEPT_MOST:
            self._known.popitem(last=False)


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
