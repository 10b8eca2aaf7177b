"""Writes statuses by server-side apply, with one field manager, and Events. Only who leads calls this."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict
from datetime import datetime
from typing import Final, TypeVar

import httpx2
import msgspec
import structlog

from smeagol import api
from smeagol.api.convert import to_json
from smeagol.api.meta import GROUP, VERSION
from smeagol.infra.kubernetes.objects import version_of
from smeagol.intent import ConditionType
from smeagol.refs import ObjectRef
from smeagol.status import Event

__all__ = ["FIELD_MANAGER", "OUTCOMES", "StatusWriter", "own_part"]

log = structlog.get_logger(__name__)

FIELD_MANAGER: Final = "smeagol"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PLURALS = {kind.name: kind.plural for kind in api.KINDS}
_OURS = frozenset(t.value for t in ConditionType)

OUTCOMES: Final = ("written", "gone", "refused", "unanswered")
"""What may come of a status that is sent: `gone` is one whose object is no more. All but `written` is tried again."""

EVENTS_COUNTED = 4096
"""Events whose repetitions are counted; the API server forgets an Event after an hour anyway."""

LONGEST_NAME = 253
"""Of an object (RFC 1123 subdomain)."""

S = TypeVar("S", bound=api.Status | api.ProviderClassStatus)


def own_part(status: S, *, controller: str) -> S:
    """What of a status the provider of that name writes: conditions of the known types, and its own entry. The rest is
    of others, and to apply it would be to claim it (spec: SMI-STATUS-03, SMI-STATUS-04).
    """
    if isinstance(status, api.ProviderClassStatus):
        return status
    return msgspec.structs.replace(
        status,
        conditions=tuple(c for c in status.conditions if c.type in _OURS),
        providers=tuple(entry for entry in status.providers if entry.controller_name == controller),
    )


class StatusWriter:
    """One request for each changed status; conflicts are decided in our favour, since nobody else owns these fields."""

    def __init__(
        self, client: httpx2.AsyncClient, *, component: str = FIELD_MANAGER, instance: str = FIELD_MANAGER
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._counts: OrderedDict[str, int] = OrderedDict()
        self.writes = Counter(dict.fromkeys(OUTCOMES, 0))
        """Statuses that were sent, by what came of it."""

    async def write(self, ref: ObjectRef, status: api.Status | api.ProviderClassStatus) -> str | None:
        """Apply our part of a status. The resource version that the object has since; None if it must be tried again,
        as long as the object is seen.
        """
        namespace = f"/namespaces/{ref.namespace}" if ref.namespace else ""
        path = f"/apis/{GROUP}/{VERSION}{namespace}/{_PLURALS[ref.kind]}/{ref.name}/status"
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": ref.kind,
            "metadata": {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {}),
            "status": _json(status),
        }
        try:
            answer = await self._client.patch(
                path,
                params={"fieldManager": self._component, "force": "true"},
                headers={"content-type": _APPLY},
                json=body,
            )
        except httpx2.HTTPError as error:
            self.writes["unanswered"] += 1
            log.warning("status not written", object=str(ref), error=repr(error))
            return None
        if answer.status_code == 404:
            self.writes["gone"] += 1
            return None
        if answer.is_error:
            self.writes["refused"] += 1
            log.warning("status refused", object=str(ref), code=answer.status_code, answer=answer.text[:500])
            return None
        self.writes["written"] += 1
        return version_of(answer)

    async def tell(self, ref: ObjectRef, uid: str, event: Event, now: datetime) -> None:
        """Record an Event (events.k8s.io/v1). One that cannot be recorded is logged and forgotten.

        One that says the same of the same object as an earlier one is counted there, whoever has written that one: so
        neither a new leader nor something that comes and goes fills the list.
        """
        namespace = ref.namespace or "default"
        name = _event_name(ref, uid, event)
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        moment = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": moment,
            "reportingController": f"{GROUP}/{self._component}",
            "reportingInstance": self._instance[:128],
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
            answer = await self._client.post(path, json=body)
            count = 1
            if answer.status_code == 409:
                count = max(2, self._counts.get(name, 1) + 1)
                answer = await self._client.patch(
                    f"{path}/{name}",
                    headers={"content-type": _MERGE},
                    json={"series": {"count": count, "lastObservedTime": moment}},
                )
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            log.warning("event not recorded", object=str(ref), reason=event.reason, error=repr(error))
            return
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > EVENTS_COUNTED:
            self._counts.popitem(last=False)


def _event_name(ref: ObjectRef, uid: str, event: Event) -> str:
    """The same for all that say the same."""
    said = json.dumps([ref.kind, uid, event.type.value, event.reason, event.message])
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return f"{ref.name[: LONGEST_NAME - 17].rstrip('-.')}.{digest}"


def _json(status: api.Status | api.ProviderClassStatus) -> api.Json:
    """As the API server is to keep it. Counts of zero are written: one that is missing would tell nobody anything."""
    plain = to_json(status)
    if isinstance(status, api.Status) and isinstance(plain, dict):
        plain["providers"] = [_entry(provider) for provider in status.providers]
    return plain


def _entry(provider: api.ProviderStatus) -> api.Json:
    plain = to_json(provider)
    if isinstance(plain, dict):
        plain["counts"] = dict(msgspec.structs.asdict(provider.counts))
    return plain
