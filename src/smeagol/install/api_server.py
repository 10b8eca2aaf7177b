"""The few requests that installing needs, and what can go wrong with each. Blocking: a command does nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx2
import msgspec

from smeagol.api.documents import Json
from smeagol.errors import SmeagolError
from smeagol.install.access import is_the_leaders
from smeagol.install.resources import FIELD_MANAGER, Manifest, Resource
from smeagol.objects import Metadata
from smeagol.refs import ObjectRef

__all__ = ["ApiServer", "ConflictError", "Live", "RefusedError", "ServerSilentError"]

T = TypeVar("T")

_RETRIES = 10
_PAGE = 500

_APPLY = {"content-type": "application/apply-patch+yaml"}
_DISCOVERY = {
    "accept": ",".join(
        f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
    )
}


class ServerSilentError(SmeagolError):
    """The API server does not answer."""

    code = "SMI-K111"


class RefusedError(SmeagolError):
    """The API server refuses a request. `status` is that of HTTP."""

    code = "SMI-K112"

    def __init__(self, what: str, *, status: int, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status


class ConflictError(SmeagolError):
    """Somebody else has set a field of an object of the installation to another value."""

    code = "SMI-K113"


class _Answer(msgspec.Struct):
    """What the API server says when it refuses (meta/v1 Status)."""

    message: str = ""
    reason: str = ""


class _Head(msgspec.Struct):
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class _ListMeta(msgspec.Struct):
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An object as the API server has it."""

    resource: Resource
    metadata: Metadata
    body: dict[str, Json]

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.resource.kind, self.metadata.namespace, self.metadata.name)

    @property
    def is_the_leaders(self) -> bool:
        """Whether the control plane that leads keeps it."""
        return is_the_leaders(self.metadata.labels)

    def as_(self, type_: type[T]) -> T:
        """The object, narrowed to what `type_` reads."""
        return msgspec.convert(self.body, type_)


class _KindName(msgspec.Struct):
    kind: str


class _ServedResource(msgspec.Struct, rename="camel"):
    resource: str
    response_kind: _KindName
    scope: str
    verbs: list[str] = []


class _ServedVersion(msgspec.Struct):
    version: str
    resources: list[_ServedResource] = []


class _ServedGroup(msgspec.Struct):
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    versions: list[_ServedVersion] = []


class _Served(msgspec.Struct):
    items: list[_ServedGroup]


class _Version(msgspec.Struct, rename="camel"):
    git_version: str


# Made here, and not where they are used: msgspec 0.22 crashes where several threads are the first to use a type.
_ANSWER = msgspec.json.Decoder(_Answer)
_LIST = msgspec.json.Decoder(_List)
_SERVED = msgspec.json.Decoder(_Served)
_VERSION = msgspec.json.Decoder(_Version)
msgspec.json.Decoder(_Head)  # which makes it ready for msgspec.convert, too


class ApiServer:
    """Raises ServerSilentError and RefusedError from every method."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def version(self) -> str:
        """Of Kubernetes, such as `v1.37.2`."""
        return _VERSION.decode(self._ask("GET", "/version", where="API server").content).git_version

    def served(self) -> Iterator[Resource]:
        """Every kind of object that can be listed, in the version that is preferred."""
        for root in ("/api", "/apis"):
            answer = self._ask("GET", root, where="API server", headers=_DISCOVERY)
            for group in _SERVED.decode(answer.content).items:
                for version in group.versions[:1]:
                    name = group.metadata.name
                    for resource in version.resources:
                        if "list" in resource.verbs:
                            yield Resource(
                                group_version=f"{name}/{version.version}" if name else version.version,
                                kind=resource.response_kind.kind,
                                plural=resource.resource,
                                namespaced=resource.scope == "Namespaced",
                            )

    def get(self, resource: Resource, name: str, namespace: str = "") -> Live | None:
        """The object, or None if there is none, or not even such a kind."""
        where = str(ObjectRef(resource.kind, namespace, name))
        answer = self._ask("GET", resource.path(namespace, name), where=where, missing_ok=True)
        return _live(resource, answer.content) if answer.status_code != 404 else None

    def list(
        self, resource: Resource, *, namespace: str = "", labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> tuple[Live, ...]:
        """The objects that have these labels, by name; none if there is no such kind."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in (labels or {}).items())}
        query |= {"fieldSelector": fields}
        answer = self._ask(
            "GET",
            resource.path(namespace),
            where=f"{resource.plural} of {namespace or 'the cluster'}",
            params={key: value for key, value in query.items() if value},
            missing_ok=True,
        )
        if answer.status_code == 404:
            return ()
        items = _LIST.decode(answer.content).items or ()
        return tuple(sorted((_live(resource, item) for item in items), key=lambda live: live.ref))

    def items(self, path: str) -> Iterator[bytes]:
        """Every object at the path of a kind, as it was sent; none if there is no such kind. Page by page."""
        query = {"limit": str(_PAGE)}
        while True:
            answer = self._ask("GET", path, where=path, params=query, missing_ok=True)
            if answer.status_code == 404:
                return
            page = _LIST.decode(answer.content)
            yield from map(bytes, page.items or ())
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_

    def serves(self, resource: Resource) -> bool:
        """Whether objects of that kind can be listed at this moment."""
        answer = self._ask("GET", resource.path(), where=resource.plural, params={"limit": "1"}, missing_ok=True)
        return answer.status_code != 404

    def create(self, path: str, body: Mapping[str, Json], answer: type[T]) -> T:
        """For what is asked by creating it, such as a SelfSubjectAccessReview."""
        return msgspec.json.decode(self._ask("POST", path, where=path, json=body).content, type=answer)

    def apply(
        self, manifest: Manifest, *, force: bool = False, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Live:
        """Server-side apply: the object is as the manifest says, in all that the manifest names.

        Unknown fields are refused. Raises ConflictError if somebody else owns a field, unless `force` takes it over.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        query |= ({"force": "true"} if force else {}) | ({"dryRun": "All"} if dry_run else {})
        answer = self._ask(
            "PATCH", manifest.path, where=str(manifest.ref), params=query, headers=_APPLY, json=manifest.to_json()
        )
        return _live(manifest.resource, answer.content)

    def delete(self, live: Live, *, owned_first: bool = False) -> None:
        """Begin to delete this very object, if it is still there; with `owned_first` it goes after what it owns."""
        body: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if owned_first else "Background",
            "preconditions": {"uid": live.metadata.uid},
        }
        path = live.resource.path(live.metadata.namespace, live.metadata.name)
        self._ask("DELETE", path, where=str(live.ref), json=body, missing_ok=True)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        where: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        missing_ok: bool = False,
    ) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, params=params, headers=headers, json=json)
            for _ in range(_RETRIES):
                if answer.status_code not in (429, 503) or "retry-after" not in answer.headers:
                    break
                time.sleep(1)  # it asks for patience: a kind that is being set up, or too many requests
                answer = self._client.request(method, path, params=params, headers=headers, json=json)
        except httpx2.HTTPError as error:
            raise ServerSilentError(
                f"the API server does not answer: {str(error) or type(error).__name__}",
                where=where,
                fix="See whether kubectl get --raw /readyz answers with the same kubeconfig",
            ) from error
        if answer.is_error and not (missing_ok and answer.status_code == 404):
            raise _refusal(answer, method, where)
        return answer


def _without_nulls(value: Json) -> Json:
    """Go writes an empty list or map as null now and then; to Kubernetes that is the same as absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _live(resource: Resource, content: bytes | msgspec.Raw) -> Live:
    body = _without_nulls(msgspec.json.decode(content))
    assert isinstance(body, dict)  # noqa: S101 - the API server answers with an object
    return Live(resource=resource, metadata=msgspec.convert(body, _Head).metadata, body=body)


def _refusal(answer: httpx2.Response, method: str, where: str) -> SmeagolError:
    try:
        said = _ANSWER.decode(answer.content)
    except msgspec.MsgspecError:
        said = _Answer(message=f"status {answer.status_code}")
    if answer.status_code == 409 and method == "PATCH":
        return ConflictError(
            said.message,
            where=where,
            fix="Take the fields over with --force, or let the other manager give them up",
        )
    fixes = {
        401: "Log in again; kubectl auth whoami shows as whom",
        403: "Let somebody with these rights do it; smeagol check lists what is missing",
        404: "See kubectl api-resources whether the cluster serves this kind",
    }
    return RefusedError(
        f"the API server refuses it: {said.message or said.reason}",
        status=answer.status_code,
        where=where,
        fix=fixes.get(answer.status_code, "The message says what it wants"),
    )
