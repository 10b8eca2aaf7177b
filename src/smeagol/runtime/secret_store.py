"""The authority's keys in a Secret: the one place in a cluster where they last (see `smeagol.pki.KeyStore`)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import httpx2
import msgspec

from smeagol.pki import PrivateBytes, StoreError, Supplied

__all__ = ["SecretKeyStore", "SecretSupply", "decoded", "read_answer", "unreached"]

T = TypeVar("T", bound=msgspec.Struct)

_ENTRY = "authority"
_TYPE = "smi-spec.io/authority"


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    resource_version: str = ""


class _Secret(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    type: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    data: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"_Secret({self.metadata.name})"  # what it holds is nobody's to read


class SecretKeyStore:
    """Saves only over the version that was loaded, so of two writers one is told to look again (StoreError).

    Whatever else the Secret has (labels, an owner, further entries, its type) stays as it is.
    """

    def __init__(self, client: httpx2.Client, *, namespace: str, name: str, entry: str = _ENTRY) -> None:
        self._client = client
        self._entry = entry
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self._namespace = namespace
        self._name = name
        self._version = ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nothing is held: versions decide (Kubernetes: optimistic concurrency)."""
        yield

    def load(self) -> PrivateBytes | None:
        answer = self._ask("GET", f"{self._path}/{self._name}")
        if answer.status_code == 404:
            self._version = ""
            return None
        secret = self._read(answer)
        self._version = secret.metadata.resource_version
        entry = secret.data.get(self._entry)
        return PrivateBytes(decoded(entry, self._where)) if entry is not None else None

    def save(self, document: PrivateBytes) -> None:
        data = {self._entry: base64.b64encode(document.reveal()).decode()}
        if self._version:
            found = _Metadata(resource_version=self._version)
            answer = self._ask("PATCH", f"{self._path}/{self._name}", _Secret(metadata=found, data=data))
        else:
            made = _Secret(api_version="v1", kind="Secret", type=_TYPE, metadata=_Metadata(name=self._name), data=data)
            answer = self._ask("POST", self._path, made)
        self._version = self._read(answer).metadata.resource_version

    def _ask(self, method: str, path: str, body: _Secret | None = None) -> httpx2.Response:
        content = msgspec.json.encode(body) if body is not None else None
        headers = {"content-type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        try:
            return self._client.request(method, path, content=content, headers=headers)
        except httpx2.HTTPError as error:
            raise unreached(error, self._where) from error

    def _read(self, answer: httpx2.Response) -> _Secret:
        if answer.status_code == 409:
            raise StoreError("somebody else has written it meanwhile", where=self._where, fix="it is tried again")
        if answer.is_error:
            raise StoreError(
                f"the API server refuses it with status {answer.status_code}",
                where=self._where,
                fix="grant get, create and patch on this Secret (kubectl auth can-i)",
            )
        return read_answer(answer, _Secret, self._where)

    @property
    def _where(self) -> str:
        return f"Secret {self._namespace}/{self._name}"


class SecretSupply:
    """An intermediate in a Secret of type kubernetes.io/tls with `ca.crt` beside, as cert-manager writes it."""

    def __init__(self, client: httpx2.Client, *, namespace: str, name: str) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._where = f"Secret {namespace}/{name}"

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        try:
            answer = self._client.get(self._path)
        except httpx2.HTTPError as error:
            raise unreached(error, self._where) from error
        if answer.status_code == 404:
            raise StoreError(
                "the intermediate has not been handed over: there is no such Secret",
                where=self._where,
                fix="create it with tls.crt, tls.key and ca.crt (a Certificate of cert-manager with isCA: true does)",
            )
        if answer.is_error:
            raise StoreError(
                f"the API server refuses it with status {answer.status_code}",
                where=self._where,
                fix="grant get on this Secret: smeagol install --ca-secret does",
            )
        data = read_answer(answer, _Secret, self._where).data
        if missing := [entry for entry in ("tls.crt", "tls.key", "ca.crt") if not data.get(entry)]:
            raise StoreError(
                f"it has no {' and no '.join(missing)}",
                where=self._where,
                fix="put the intermediate into tls.crt, its key into tls.key, the roots into ca.crt",
            )
        certificate, key, bundle = (decoded(data[entry], self._where) for entry in ("tls.crt", "tls.key", "ca.crt"))
        return Supplied(certificate_pem=certificate, key_pem=PrivateBytes(key), bundle_pem=bundle, place=self._where)


def read_answer(answer: httpx2.Response, kind: type[T], where: str) -> T:
    """Raises StoreError for what is none, such as the page of a proxy between us and the API server."""
    with suppress(ValueError):  # whose text could quote what it has read
        return msgspec.json.decode(answer.content, type=kind)
    raise _unreadable(where)


def unreached(error: httpx2.HTTPError, where: str) -> StoreError:
    """To be raised where the API server is away."""
    return StoreError(f"the API server does not answer: {type(error).__name__}", where=where, fix="it is tried again")


def decoded(entry: str, where: str) -> bytes:
    """Raises StoreError."""
    with suppress(ValueError):
        return base64.b64decode(entry)
    raise _unreadable(where)


def _unreadable(where: str) -> StoreError:
    return StoreError("the answer of the API server cannot be read", where=where, fix="it is tried again")
