"""Restarts what owns Pods as `kubectl rollout restart` does: by an annotation of the template."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import structlog

from smeagol.infra.kubernetes.objects import lacks_right, path_of, words_of
from smeagol.plan.peer import PeerKind
from smeagol.refs import ObjectRef

__all__ = ["RESTARTABLE", "Restarted", "held_by", "restart"]

log = structlog.get_logger(__name__)

RESTARTABLE = {
    kind: PeerKind("apps/v1", kind, plural)
    for kind, plural in (("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets"))
}
"""What has a template of Pods and makes them anew when that changes."""


class Restarted(enum.Enum):
    """What came of it. An owner that is gone needs no restart; FORBIDDEN: nobody has given us the right to. HELD: its
    template is changed, and it makes no Pods of it by itself.
    """

    DONE = "done"
    HELD = "held"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    FAILED = "failed"


async def restart(
    client: httpx2.AsyncClient, owner: ObjectRef, *, annotation: str, value: str
) -> tuple[Restarted, str]:
    """What came of it, and, where it failed or is held up, why. What fails is logged; the caller tries it again."""
    path = path_of(RESTARTABLE[owner.kind], owner.namespace, owner.name)
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
    holds = held_by(msgspec.json.decode(answer.content))
    return (Restarted.HELD, holds) if holds else (Restarted.DONE, "")


def held_by(owner: Mapping[str, Any]) -> str:
    """Why a Deployment, StatefulSet or DaemonSet does not replace its Pods although its template has changed, and what
    helps; empty if it does. `owner` is the object as the API server has it.
    """
    spec = owner["spec"]
    if spec.get("paused"):
        return "it is paused: resume it with `kubectl rollout resume`"
    if spec.get("updateStrategy", {}).get("type") == "OnDelete":
        return "its update strategy is OnDelete: delete its Pods yourself"
    return ""
