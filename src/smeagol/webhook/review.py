"""AdmissionReview v1: what the API server asks, and what it is answered (admission.k8s.io/v1)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from smeagol.errors import SmeagolError
from smeagol.webhook.json_patch import Operation

__all__ = ["BadReviewError", "Request", "Verdict", "encode_verdict", "parse_review"]

API_VERSION = "admission.k8s.io/v1"


class BadReviewError(SmeagolError):
    """What was sent to a webhook is no AdmissionReview that it can answer."""

    code = "SMI-I006"


class _Names(msgspec.Struct, frozen=True):
    group: str = ""
    kind: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The question. `object` is the object as it would be stored; empty for a deletion."""

    uid: str
    kind: _Names
    operation: str
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")

    def body(self) -> dict[str, Any]:
        """The object as plain JSON. Raises BadReviewError."""
        try:
            return msgspec.json.decode(self.object, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise BadReviewError(
                f"the object cannot be read: {error}", where="request.object", fix="Send the object to be admitted"
            ) from None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer. `refusal`: why the object is not admitted; empty if it is."""

    patch: tuple[Operation, ...] = ()
    refusal: str = ""
    warnings: tuple[str, ...] = ()


def parse_review(body: bytes) -> Request:
    """Raises BadReviewError."""
    try:
        review = msgspec.json.decode(body, type=_Review)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadReviewError(
            f"the body is no AdmissionReview: {error}",
            where="request body",
            fix=f"Send an AdmissionReview of {API_VERSION} as JSON",
        ) from None
    if (review.api_version, review.kind) != (API_VERSION, "AdmissionReview"):
        raise BadReviewError(
            f"{review.api_version[:63]} {review.kind[:63]} is not known here",
            where="apiVersion, kind",
            fix=f"Send an AdmissionReview of {API_VERSION}",
        )
    if not review.request.uid:
        raise BadReviewError("the request has no uid, so it cannot be answered", where="request.uid", fix="Set it")
    return review.request


def encode_verdict(request: Request, verdict: Verdict) -> bytes:
    response: dict[str, Any] = {"uid": request.uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        response["status"] = {"code": 422, "reason": "Invalid", "message": verdict.refusal}
    elif verdict.patch:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(verdict.patch)).decode()}
    if verdict.warnings:
        response["warnings"] = verdict.warnings
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
