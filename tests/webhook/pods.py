"""Pods as the API server sends them to a webhook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from smeagol.intent import AddedContainer
from smeagol.plan import AppProbe
from smeagol.webhook import InjectionSettings
from webhook.patching import patched

__all__ = ["SETTINGS", "bootstrap", "container", "containers_of", "named", "pod", "pods", "result"]

SETTINGS = InjectionSettings(proxy_image="proxy:1", init_image="smeagol:1")
Json = dict[str, Any]


def bootstrap(probes: tuple[AppProbe, ...]) -> str:
    """A stand-in that shows what the provider was given."""
    return f"bootstrap with {len(probes)} probes"


def container(name: str = "app", **fields: Any) -> Json:
    return {"name": name, "image": f"{name}:1", **fields}


def pod(
    *containers: Json,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A Pod of namespace `shop`; `spec` are further fields of its spec."""
    metadata: Json = {"name": "web-1", "namespace": "shop"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    if labels is not None:
        metadata["labels"] = dict(labels)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def result(before: Json, settings: InjectionSettings = SETTINGS, added: Sequence[AddedContainer] = ()) -> Json:
    """The Pod as it is stored after the webhook's patch."""
    from smeagol.webhook import inject

    after: Json = patched(before, inject(before, settings, bootstrap, wanted=True, added=added))
    return after


def containers_of(of: Json) -> list[Json]:
    return [*(of["spec"].get("initContainers") or []), *of["spec"]["containers"]]


def named(of: Json, name: str) -> Json:
    (found,) = [one for one in containers_of(of) if one["name"] == name]
    return found


# Pods of all shapes ---------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["app", "web", "logs", "x-1"])
_PORTS = st.integers(1, 65535).filter(lambda port: port not in {15001, 15006, 15021, 15090})
_PORT_OR_NAME = _PORTS | st.sampled_from(["http", "none-such", "8080"])
_HTTP = st.fixed_dictionaries(
    {"port": _PORT_OR_NAME},
    optional={
        "path": st.sampled_from(["/", "", "healthz", "/a b", "/x?y=1", "/100%", "/$(HOME)"]),
        "scheme": st.sampled_from(["HTTP", "HTTPS"]),
        "host": st.just("example.com"),
        "httpHeaders": st.just([{"name": "X-A", "value": "1"}]),
    },
)
_ACTION = st.one_of(
    st.fixed_dictionaries({"httpGet": _HTTP}),
    st.fixed_dictionaries({"tcpSocket": st.fixed_dictionaries({"port": _PORT_OR_NAME})}),
    st.fixed_dictionaries({"grpc": st.fixed_dictionaries({"port": _PORTS}, optional={"service": st.just("cart")})}),
    st.just({"exec": {"command": ["true"]}}),
)
_PROBE = st.builds(lambda action, period: {**action, "periodSeconds": period}, _ACTION, st.integers(1, 60))
_CONTAINER = st.fixed_dictionaries(
    {"name": _NAMES, "image": st.just("app:1")},
    optional={
        "ports": st.lists(st.fixed_dictionaries({"containerPort": _PORTS, "name": st.just("http")}), max_size=1),
        "readinessProbe": _PROBE,
        "livenessProbe": _PROBE,
        "startupProbe": _PROBE,
        "lifecycle": st.dictionaries(st.sampled_from(["preStop", "postStart"]), _ACTION, max_size=2),
        "restartPolicy": st.just("Always"),
    },
)
_CONTAINERS = st.lists(_CONTAINER, max_size=3, unique_by=lambda made: str(made["name"]))


def _shape(init: list[Json], main: list[Json], annotations: Json | None, volumes: list[Json] | None) -> Json:
    spec: Json = {"containers": main}
    if init:
        spec["initContainers"] = [{**one, "name": f"init-{one['name']}"} for one in init]
    if volumes is not None:
        spec["volumes"] = volumes
    metadata: Json = {"generateName": "web-"}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


pods: st.SearchStrategy[Json] = st.builds(
    _shape,
    _CONTAINERS,
    _CONTAINERS.filter(bool),
    st.none() | st.dictionaries(st.sampled_from(["a/b", "c~d"]), st.text(max_size=3), max_size=2, min_size=1),
    st.none() | st.lists(st.builds(lambda name: {"name": name}, _NAMES), max_size=2, min_size=1, unique_by=str),
)
