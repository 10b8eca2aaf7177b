"""Keeps single objects as they should be, by server-side apply. Only who leads calls this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
import msgspec
import structlog

from smeagol.infra.kubernetes.writer import FIELD_MANAGER
from smeagol.plan import JSON

__all__ = ["Keeper", "Kept", "Place"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the API server serves a kind."""

    api: str
    plural: str
    kind: str
    namespaced: bool = False

    def path(self, name: str, namespace: str = "") -> str:
        within = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.api}{within}/{self.plural}/{name}"


class _Metadata(msgspec.Struct, frozen=True):
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}


class Kept(msgspec.Struct, frozen=True):
    """As much of an object that is there as tells whether it is as it should be."""

    metadata: _Metadata = _Metadata()
    data: dict[str, str] = {}


class _List(msgspec.Struct, frozen=True):
    items: tuple[Kept, ...]


class Keeper:
    """What fails is logged, and the caller's next round tries it again: one object never holds up another."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def apply(self, place: Place, wanted: Mapping[str, JSON]) -> bool:
        """Make the object, or the fields that we set, as `wanted` has them. Whether the API server said yes."""
        metadata = wanted["metadata"]
        assert isinstance(metadata, Mapping)  # noqa: S101 - ours
        path = place.path(str(metadata["name"]), str(metadata.get("namespace", "")))
        return await self._send(
            "PATCH",
            path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            headers={"content-type": "application/apply-patch+yaml"},
            content=msgspec.json.encode(wanted),
        )

    async def delete(self, place: Place, name: str, namespace: str = "") -> bool:
        """One that is gone already is gone."""
        return await self._send("DELETE", place.path(name, namespace))

    async def named(self, place: Place, name: str) -> dict[str, Kept] | None:
        """All objects of one name, by namespace; None if the API server does not say."""
        try:
            answer = await self._client.get(
                f"{place.api}/{place.plural}", params={"fieldSelector": f"metadata.name={name}"}
            )
            answer.raise_for_status()
            found = msgspec.json.decode(answer.content, type=_List).items
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("objects not listed", kind=place.kind, name=name, error=repr(error))
            return None
        return {item.metadata.namespace: item for item in found}

    async def uid(self, place: Place, name: str) -> str:
        """Of one object; empty if there is none, or the API server does not say."""
        try:
            answer = await self._client.get(place.path(name))
            if answer.status_code == 404:
                return ""
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=Kept).metadata.uid
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("object not read", kind=place.kind, name=name, error=repr(error))
            return ""

    async def _send(self, method: str, path: str, **request: object) -> bool:
        try:
            answer = await self._client.request(method, path, **request)  # type: ignore[arg-type]  # as request() takes
        except httpx2.HTTPError as error:
            log.warning("object not kept", method=method, path=path, error=repr(error))
            return False
        if answer.is_error and not (method == "DELETE" and answer.status_code == 404):
            log.warning("object refused", method=method, path=path, code=answer.status_code, answer=answer.text[:300])
            return False
        return True
