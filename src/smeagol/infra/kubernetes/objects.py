"""Applies and deletes single objects. Only who leads calls this.

It never takes over an object that somebody else has made, unless its name says that it can only be ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2
import msgspec
import structlog

from smeagol.objects.appliers import appliers_of
from smeagol.plan import JSON
from smeagol.plan.peer import JSONObject, PeerKind, ref_of

__all__ = ["Applied", "ObjectWriter", "Refused", "Unreached", "lacks_right", "path_of", "version_of", "words_of"]

log = structlog.get_logger(__name__)

_APPLY: Final = "application/apply-patch+yaml"
_CREATED: Final = 201


@dataclass(frozen=True, slots=True)
class Applied:
    """It is there as wanted, as this generation.

    `version`: as the API server counts all writes to it. `fields`: those that are as we say, as in `appliers_of`.
    """

    uid: str
    generation: int
    version: str = ""
    fields: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """The API server does not take it, and why. It would not take it a second time either."""

    message: str


@dataclass(frozen=True, slots=True)
class Unreached:
    """Not done; to be tried again."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    generation: int = 0
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    message: str = ""


class _List(msgspec.Struct, frozen=True):
    items: tuple[_Object, ...]


def path_of(kind: PeerKind, namespace: str = "", name: str = "") -> str:
    """Where an object is on the API server; without a name, all of the kind."""
    base = f"/apis/{kind.group_version}" if kind.group else f"/api/{kind.group_version}"
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{base}{within}/{kind.plural}" + (f"/{name}" if name else "")


class ObjectWriter:
    """Server-side apply with a field manager of its own. What fails is logged: one object never holds up another."""

    def __init__(self, client: httpx2.AsyncClient, *, field_manager: str) -> None:
        self._client = client
        self.field_manager = field_manager

    async def apply(self, kind: PeerKind, obj: JSONObject, *, uid: str | None = "") -> Applied | Refused | Unreached:
        """Bring an object into the wanted state. `uid` is that of the object of ours that is there; empty if none is;
        None if it is ours whoever made it.

        What others have changed in an object of ours is changed back. Where there was none, one that has come up
        meanwhile is somebody else's: it is left as it was, and the answer is Unreached. So whoever knows it only from a
        watch, which may be behind, asks `is_taken` first: an object that we have made ourselves would lose all it has.
        """
        ref = ref_of(obj)
        path = path_of(kind, ref.namespace, ref.name)
        try:
            answer = await self._patch(path, _with_uid(obj, uid) if uid else obj, force=uid != "")
        except httpx2.HTTPError as error:
            log.warning("object not applied", object=str(ref), error=repr(error))
            return Unreached()
        found = _read(answer)
        if answer.status_code in (400, 403, 404, 422):
            log.warning("object refused", object=str(ref), code=answer.status_code, answer=found.message)
            return Refused(found.message)
        if answer.is_error:  # a conflict: what is there has changed, and will be seen
            log.info("object not applied", object=str(ref), code=answer.status_code, answer=found.message)
            return Unreached()
        if uid == "" and answer.status_code != _CREATED:
            await self._give_up(path, obj)
            return Unreached()
        metadata, fields = found.metadata, appliers_of(answer.content).get(self.field_manager, b"")
        return Applied(metadata.uid, metadata.generation, metadata.resource_version, fields)

    async def is_taken(self, kind: PeerKind, namespace: str, name: str) -> bool:
        """Whether there is an object of this name now, or nobody says. It is listed, as whoever watches may."""
        query = {"fieldSelector": f"metadata.name={name}"}
        try:
            answer = await self._client.get(path_of(kind, namespace), params=query)
            if answer.status_code == 404:
                return False  # the kind is not served, as is told when one is applied
            answer.raise_for_status()
            return bool(msgspec.json.decode(answer.content, type=_List).items)
        except (httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("object not looked for", kind=kind.kind, namespace=namespace, name=name, error=repr(error))
            return True

    async def delete(self, kind: PeerKind, namespace: str, name: str, *, uid: str) -> bool:
        """Delete just this object, and no later one of its name; False if it must be tried again."""
        try:
            answer = await self._client.request(
                "DELETE", path_of(kind, namespace, name), json={"preconditions": {"uid": uid}}
            )
        except httpx2.HTTPError as error:
            log.warning("object not deleted", kind=kind.kind, namespace=namespace, name=name, error=repr(error))
            return False
        if answer.is_error and answer.status_code not in (404, 409):
            log.warning("object not deleted", kind=kind.kind, namespace=namespace, name=name, code=answer.status_code)
            return False
        log.info("object deleted", kind=kind.kind, namespace=namespace, name=name)
        return True

    async def _give_up(self, path: str, obj: JSONObject) -> None:
        """Take our fields out of an object that turned out to be somebody else's; theirs were not changed."""
        ref = ref_of(obj)
        log.warning("the object is somebody else's", object=str(ref))
        bare: JSONObject = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {}),
        }
        try:
            await self._patch(path, bare, force=False)
        except httpx2.HTTPError as error:
            log.warning("fields not given up", object=str(ref), error=repr(error))

    async def _patch(self, path: str, body: JSONObject, *, force: bool) -> httpx2.Response:
        return await self._client.patch(
            path,
            params={
                "fieldManager": self.field_manager,
                "force": "true" if force else "false",
                "fieldValidation": "Strict",
            },
            headers={"content-type": _APPLY},
            json=body,
        )


def _with_uid(obj: JSONObject, uid: str) -> JSONObject:
    """Nothing is applied to an object of the same name that has another one."""
    metadata = obj["metadata"]
    assert isinstance(metadata, Mapping)  # noqa: S101 - `made` writes it
    given: dict[str, JSON] = {**metadata, "uid": uid}
    return {**obj, "metadata": given}


def lacks_right(words: str) -> bool:
    """Whether the API server says that we may not do something (RBAC). Others refuse too, such as a webhook of
    somebody's, and no right helps against those."""
    return re.search(r"cannot \w+ resource ", words) is not None


def words_of(answer: httpx2.Response) -> str:
    """What the API server says to a request that it does not carry out."""
    return _read(answer).message


def version_of(answer: httpx2.Response) -> str:
    """The resource version of the object in an answer. Empty if it cannot be read: then nobody knows which state is the
    newer.
    """
    return _read(answer).metadata.resource_version


def _read(answer: httpx2.Response) -> _Object:
    try:
        return msgspec.json.decode(answer.content, type=_Object)
    except msgspec.DecodeError:
        return _Object(message=answer.text[:500])
