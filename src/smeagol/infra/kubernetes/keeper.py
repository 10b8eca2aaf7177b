"""Keeps single objects as they should be: reads what is there, and brings it in line. Only who leads calls this."""

from __future__ import annotations

import httpx2
import msgspec
import structlog

from smeagol.infra.kubernetes.objects import ObjectWriter, Refused, Unreached, path_of, words_of
from smeagol.infra.kubernetes.writer import FIELD_MANAGER
from smeagol.plan.peer import PeerKind

__all__ = ["Keeper", "Kept"]

log = structlog.get_logger(__name__)


class _Owner(msgspec.Struct, frozen=True):
    uid: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    owner_references: tuple[_Owner, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """As much of an object that is there as tells whether it is as it should be."""

    metadata: _Metadata = _Metadata()
    data: dict[str, str] = {}


class _List(msgspec.Struct, frozen=True):
    items: tuple[Kept, ...]


class Keeper(ObjectWriter):
    """An `ObjectWriter` of the control plane's own, which can also look."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        super().__init__(client, field_manager=FIELD_MANAGER)

    async def named(self, kind: PeerKind, name: str) -> dict[str, Kept] | None:
        """All objects of one name, by namespace; None if the API server does not say."""
        try:
            answer = await self._client.get(path_of(kind), params={"fieldSelector": f"metadata.name={name}"})
            answer.raise_for_status()
            found = msgspec.json.decode(answer.content, type=_List).items
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("objects not listed", kind=kind.kind, name=name, error=repr(error))
            return None
        return {item.metadata.namespace: item for item in found}

    async def find(self, kind: PeerKind, namespace: str, name: str) -> Kept | Refused | Unreached | None:
        """One object; None if there is none."""
        try:
            answer = await self._client.get(path_of(kind, namespace, name))
            if answer.status_code == 404:
                return None
            if answer.status_code == 403:
                return Refused(words_of(answer))
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=Kept)
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("object not read", kind=kind.kind, namespace=namespace, name=name, error=repr(error))
            return Unreached()

    async def uid(self, kind: PeerKind, name: str) -> str:
        """Of one object; empty if there is none, or the API server does not say."""
        try:
            answer = await self._client.get(path_of(kind, name=name))
            if answer.status_code == 404:
                return ""
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=Kept).metadata.uid
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("object not read", kind=kind.kind, name=name, error=repr(error))
            return ""
