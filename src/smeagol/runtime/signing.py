"""An intermediate by Kubernetes' CertificateSigningRequest API: asked for, waited for, and asked for again in time.

We ask and read the answer. Whether it is approved is for others, and who signs it is too: we may do neither.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

import httpx2
import msgspec
import structlog

from smeagol.pki import (
    AuthorityError,
    IntermediateAuthority,
    IntermediateRequest,
    KeyStore,
    StoreError,
    Supplied,
    needs_another,
)
from smeagol.runtime.secret_store import decoded, read_answer, unreached

__all__ = ["SigningError", "SigningSupply"]

log = structlog.get_logger(__name__)

LIFETIME = timedelta(days=90)
"""What is asked for; the signer may give less."""

USAGES = ("cert sign", "crl sign", "server auth", "client auth")
"""An intermediate may sign nothing but TLS, which the extended usages bind all below it to (see `pki.certificates`)."""

_PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_IS_CA = "experimental.cert-manager.io/request-is-ca"
"""By which cert-manager's signers tell a request for a CA from others; the API has no field for it."""


class SigningError(AuthorityError):
    """The intermediate that was asked for has not been signed, or not so that it can be used."""

    code: ClassVar[str] = "SMI-K003"


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    conditions: tuple[_Condition, ...] = ()
    certificate: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    request: str = ""
    signer_name: str = ""


class _Asked(msgspec.Struct):
    """The fields of a CertificateSigningRequest that are read (certificates.k8s.io/v1)."""

    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


class SigningSupply:
    """Hands over what the signer `signer` makes, with the roots that the ConfigMap `roots` has in `ca.crt`.

    `store` keeps the request with its key. Several replicas share it: one saves a request, all go on with that one.
    """

    def __init__(
        self,
        client: httpx2.Client,
        store: KeyStore,
        *,
        signer: str,
        namespace: str,
        roots: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._store = store
        self._signer = signer
        self._roots_path = f"/api/v1/namespaces/{namespace}/configmaps/{roots}"
        self._roots_where = f"ConfigMap {namespace}/{roots}"
        self._clock = clock

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        """The newest intermediate. Raises SigningError while there is none, or its successor is due and is not there
        yet: what is held goes on signing meanwhile. StoreError, if the API server is away.
        """
        roots = self._roots()
        request = self._request(held)
        answered = request.answered(held)
        try:
            found = answered or self._certified(request, roots)
        except SigningError:
            if not held or held[-1].bundle_pem == roots or not self._leads_to(roots, held[-1]):
                raise
            found = held[-1]  # roots are taken over while one waits; the next look tells what it waits for
        return replace(found, bundle_pem=roots)

    def _leads_to(self, roots: bytes, pair: Supplied) -> bool:
        """One that somebody else has handed over mostly doesn't."""
        with suppress(AuthorityError):
            IntermediateAuthority.from_pem(
                certificate_pem=pair.certificate_pem, key_pem=pair.key_pem, bundle_pem=roots, now=self._clock()
            )
            return True
        return False

    def _request(self, held: tuple[Supplied, ...]) -> IntermediateRequest:
        """The one that is under way, or was answered last; a new one if it is time."""
        with self._store.lock():
            saved = self._store.load()
            request = IntermediateRequest.load(saved) if saved is not None else None
            if request is None or needs_another(request, held, signer=self._signer, now=self._clock()):
                request = IntermediateRequest.new(self._signer)
                self._store.save(request.dump())
                log.info("intermediate requested", request=request.name, signer=self._signer)
        return request

    def _certified(self, request: IntermediateRequest, roots: bytes) -> Supplied:
        """What the request has led to. Raises SigningError if that is nothing yet, or nothing that can be used."""
        where = f"CertificateSigningRequest {request.name}"
        again = f"have it asked again: kubectl delete csr {request.name}"
        answer = self._ask("GET", f"{_PATH}/{request.name}", where)
        if answer.status_code == 404:
            self._create(request, where)
            raise self._waits(request, where)
        asked = read_answer(self._allowed(answer, where, "get"), _Asked, where)
        if (decoded(asked.spec.request, where), asked.spec.signer_name) != (request.pem, request.signer):
            raise SigningError(
                "somebody else has made it, for another key", where=where, fix=f"see who has, and {again}"
            )
        for condition in asked.status.conditions:
            if condition.type in ("Denied", "Failed") and condition.status != "False":
                said = ": ".join(filter(None, (condition.reason, condition.message)))
                by = "its approver has denied it" if condition.type == "Denied" else f"{self._signer} has failed"
                raise SigningError(f"{by} ({said or 'no reason given'})", where=where, fix=f"mend that, and {again}")
        if not asked.status.certificate:
            raise self._waits(request, where, approved=any(c.type == "Approved" for c in asked.status.conditions))
        certificate = decoded(asked.status.certificate, where)
        try:
            IntermediateAuthority.from_pem(
                certificate_pem=certificate, key_pem=request.key_pem, bundle_pem=roots, now=self._clock()
            )
        except AuthorityError as error:
            place = self._roots_where if error.where == "ca.crt" else error.where
            raise SigningError(
                f"{self._signer} has signed what can't be used: {place} {error.what}",
                where=where,
                fix=f"{error.fix}, or {again}",
            ) from None
        return Supplied(certificate_pem=certificate, key_pem=request.key_pem, bundle_pem=roots)

    def _waits(self, request: IntermediateRequest, where: str, *, approved: bool = False) -> SigningError:
        if approved:
            what, fix = f"{self._signer} has not signed it yet", f"see whether {self._signer} is well"
        else:
            what = "nobody has approved it yet"
            fix = (
                f"see that it comes from the control plane, and approve it: kubectl certificate approve {request.name}"
            )
        return SigningError(what, where=where, fix=fix)

    def _create(self, request: IntermediateRequest, where: str) -> None:
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": request.name, "annotations": {_IS_CA: "true"}},
            "spec": {
                "request": base64.b64encode(request.pem).decode(),
                "signerName": request.signer,
                "expirationSeconds": int(LIFETIME.total_seconds()),
                "usages": USAGES,
            },
        }
        answer = self._ask("POST", _PATH, where, msgspec.json.encode(body))
        if answer.status_code != 409:  # another replica was faster
            self._allowed(answer, where, "create")

    def _roots(self) -> bytes:
        where = self._roots_where
        answer = self._ask("GET", self._roots_path, where)
        there = answer.status_code != 404
        found = read_answer(self._allowed(answer, where, "get"), _ConfigMap, where) if there else _ConfigMap()
        if not found.data.get("ca.crt"):
            raise StoreError(
                "it has no ca.crt" if there else "there is no such ConfigMap",
                where=where,
                fix=f"put the roots that {self._signer} leads to into its ca.crt",
            )
        return found.data["ca.crt"].encode()

    def _ask(self, method: str, path: str, where: str, content: bytes | None = None) -> httpx2.Response:
        try:
            return self._client.request(method, path, content=content, headers={"content-type": "application/json"})
        except httpx2.HTTPError as error:
            raise unreached(error, where) from error

    def _allowed(self, answer: httpx2.Response, where: str, verb: str) -> httpx2.Response:
        if answer.is_error:
            raise StoreError(
                f"the API server refuses to {verb} it with status {answer.status_code}",
                where=where,
                fix="see kubectl auth can-i: smeagol install --ca-signer gives the rights",
            )
        return answer
