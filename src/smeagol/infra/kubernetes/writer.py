"""Writes statuses by server-side apply, with one field manager, and Events. Only who leads calls this."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

import httpx2
import structlog

from smeagol import api
from smeagol.api.convert import to_json
from smeagol.api.meta import GROUP, VERSION
from smeagol.refs import ObjectRef
from smeagol.status import Event

__all__ = ["FIELD_MANAGER", "StatusWriter"]

log = structlog.get_logger(__name__)

FIELD_MANAGER: Final = "smeagol"
_APPLY = "application/apply-patch+yaml"
_PLURALS = {kind.name: kind.plural for kind in api.KINDS}


class StatusWriter:
    """One request for each changed status; conflicts are decided in our favour, since nobody else owns these fields."""

    def __init__(self, client: httpx2.AsyncClient, *, component: str = FIELD_MANAGER) -> None:
        self._client = client
        self._component = component

    async def write(self, ref: ObjectRef, status: api.Status | api.ProviderClassStatus) -> bool:
        """Apply a status; False if it must be tried again. An object that is gone meanwhile needs none."""
        namespace = f"/namespaces/{ref.namespace}" if ref.namespace else ""
        path = f"/apis/{GROUP}/{VERSION}{namespace}/{_PLURALS[ref.kind]}/{ref.name}/status"
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": ref.kind,
            "metadata": {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {}),
            "status": to_json(status),
        }
        try:
            answer = await self._client.patch(
                path,
                params={"fieldManager": self._component, "force": "true"},
                headers={"content-type": _APPLY},
                json=body,
            )
        except httpx2.HTTPError as error:
            log.warning("status not written", object=str(ref), error=repr(error))
            return False
        if answer.status_code == 404:
            return True
        if answer.is_error:
            log.warning("status refused", object=str(ref), code=answer.status_code, answer=answer.text[:500])
            return False
        return True

    async def tell(self, ref: ObjectRef, uid: str, event: Event, now: datetime) -> None:
        """Record an Event (events.k8s.io/v1). One that cannot be recorded is logged and forgotten."""
        namespace = ref.namespace or "default"
        moment = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{ref.name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "eventTime": moment,
            "reportingController": f"{GROUP}/{self._component}",
            "reportingInstance": self._component,
            "action": event.reason,
            "reason": event.reason,
            "type": event.type.value,
            "note": event.message[:1024],
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": uid,
            },
        }
        try:
            answer = await self._client.post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", json=body)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            log.warning("event not recorded", object=str(ref), reason=event.reason, error=repr(error))
