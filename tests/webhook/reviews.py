"""Reviews as the API server sends them, and its reading of the answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from smeagol.webhook.json_patch import Operation

__all__ = ["operations", "response", "review", "review_of_object"]

Json = dict[str, Any]


def review(pod: Json, *, uid: str = "u-1", namespace: str = "shop", operation: str = "CREATE", **fields: Any) -> bytes:
    """A review of a Pod; `fields` are further ones of the request."""
    return _review(pod, {"group": "", "version": "v1", "kind": "Pod"}, uid, namespace, operation, fields)


def review_of_object(given: Json, *, namespace: str = "shop", operation: str = "CREATE", **fields: Any) -> bytes:
    """A review of an object of ours."""
    kind = {"group": "smi-spec.io", "version": "v1beta1", "kind": given["kind"]}
    return _review(given, kind, "u-1", namespace, operation, fields)


def _review(
    given: Json, kind: Mapping[str, str], uid: str, namespace: str, operation: str, fields: Mapping[str, Any]
) -> bytes:
    request = {
        "uid": uid,
        "kind": kind,
        "resource": {"group": kind["group"], "version": kind["version"], "resource": f"{kind['kind'].lower()}s"},
        "requestKind": kind,
        "name": "",
        "namespace": namespace,
        "operation": operation,
        "userInfo": {"username": "admin", "groups": ["system:masters"]},
        "object": given,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        **fields,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def response(body: bytes) -> Json:
    """What the API server acts on, once it has checked that the answer is one."""
    answer = json.loads(body)
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    assert answer["kind"] == "AdmissionReview"
    found: Json = answer["response"]
    assert ("patch" in found) == ("patchType" in found)
    return found


def operations(found: Json) -> tuple[Operation, ...]:
    if "patch" not in found:
        return ()
    assert found["patchType"] == "JSONPatch"
    return msgspec.json.decode(base64.b64decode(found["patch"]), type=tuple[Operation, ...])
