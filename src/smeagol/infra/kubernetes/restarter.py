"""Restarts what owns Pods as `kubectl rollout restart` does: by an annotation of the template."""

from __future__ import annotations

import enum

import httpx2
import structlog

from smeagol.infra.kubernetes.objects import lacks_right, words_of
from smeagol.refs import ObjectRef

__all__ = ["Restarted", "restart"]

log = structlog.get_logger(__name__)

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


class Restarted(enum.Enum):
    """What came of it. An owner that is gone needs no restart; FORBIDDEN: nobody has given us the right to."""

    DONE = "done"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    FAILED = "failed"


async def restart(
    client: httpx2.AsyncClient, owner: ObjectRef, *, annotation: str, value: str
) -> tuple[Restarted, str]:
    """What came of it, and, where it failed, in whose words. What fails is logged; the caller tries it again."""
    path = f"/apis/apps/v1/namespaces/{owner.namespace}/{_PLURALS[owner.kind]}/{owner.name}"
    body = {"spec": {"template": {"metadata": {"annotations": {annotation: value}}}}}
    try:
        answer = await client.patch(path, headers={"content-type": "application/merge-patch+json"}, json=body)
    except httpx2.HTTPError as error:
        log.warning("owner not restarted", owner=str(owner), error=repr(error))
        return Restarted.FAILED, "the API server does not answer"
    if answer.status_code == 404:
        return Restarted.GONE, ""
    if answer.is_error:
        words = words_of(answer)
        log.warning("restart refused", owner=str(owner), code=answer.status_code, answer=words)
        return (Restarted.FORBIDDEN if lacks_right(words) else Restarted.FAILED), words
    log.info("restarted", owner=str(owner), value=value)
    return Restarted.DONE, ""
