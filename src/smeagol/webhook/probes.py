"""Probes under Strict: the kubelet has no certificate, so it asks the proxy, which asks the application.

What the kubelet would dial at the Pod's own address is rewritten: HTTP, gRPC and TCP probes, and HTTP hooks of the
lifecycle. Untouched stay commands, what names another host, and ports that pass by the proxy anyway. The originals are
kept beside the Pod, so that rewriting can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from smeagol.plan import READINESS_PORT, AppProbe, ProbeKind

__all__ = ["FIRST_GRPC_PORT", "Originals", "Rewritten", "restored", "rewritten"]

JsonObject = dict[str, Any]  # what is not read here must pass unchanged
Originals = dict[str, dict[str, JsonObject]]
"""By container, then by `readinessProbe`, `preStop` and so on: how the application was to be asked."""

FIRST_GRPC_PORT = 15030
"""Each port of the application that is asked by gRPC has one of the proxy, from here on: requests of two ports for the
same health service would look alike."""

_PROBES = {"startupProbe": "startup", "readinessProbe": "readiness", "livenessProbe": "liveness"}
_HOOKS = {"postStart": "post-start", "preStop": "pre-stop"}
_ACTIONS = frozenset({"httpGet", "tcpSocket", "grpc"})
_PATH_SAFE = "/?&=+:;,@!$'()*~%[]"
_DEFAULT_PERIOD_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """Containers that ask the proxy, what they ask it, and how they asked before."""

    containers: list[JsonObject]
    probes: tuple[AppProbe, ...]
    originals: Originals


def rewritten(containers: Iterable[JsonObject], *, passed: Iterable[int], taken: frozenset[int]) -> Rewritten:
    """`passed`: ports that pass by the proxy. `taken`: ports that the Pod's containers declare."""
    containers = list(containers)
    rewriting = _Rewriting(containers, frozenset(passed), taken)
    changed = [rewriting.container(container) for container in containers]
    # Two gRPC probes of one port are one question.
    probes = tuple(sorted(set(rewriting.probes), key=_order))
    return Rewritten(containers=changed, probes=probes, originals=rewriting.originals)


def restored(container: JsonObject, originals: dict[str, JsonObject]) -> JsonObject:
    """The container as it was, except where something else has been written over our probes since."""
    name = container.get("name", "")
    changed = dict(container)
    for field, word in _PROBES.items():
        probe = changed.get(field)
        if field in originals and isinstance(probe, dict) and _is_ours(probe, _path(name, word)):
            changed[field] = _with_action(probe, originals[field])
    hooks = changed.get("lifecycle")
    if isinstance(hooks, dict):
        for field, word in _HOOKS.items():
            hook = hooks.get(field)
            if field in originals and isinstance(hook, dict) and _is_ours(hook, _path(name, word)):
                hooks = {**hooks, field: _with_action(hook, originals[field])}
        changed["lifecycle"] = hooks
    return changed


class _Rewriting:
    """One Pod's containers, one after the other."""

    def __init__(self, containers: list[JsonObject], passed: frozenset[int], taken: frozenset[int]) -> None:
        self.probes: list[AppProbe] = []
        self.originals: Originals = {}
        self._passed = passed
        grpc_ports = {port for container in containers for port in _grpc_ports(container)}
        free = (port for port in range(FIRST_GRPC_PORT, 65536) if port not in taken and port not in grpc_ports)
        self._asked_at = dict(zip(sorted(grpc_ports), free, strict=False))

    def container(self, container: JsonObject) -> JsonObject:
        changed = dict(container)
        for field, word in _PROBES.items():
            if isinstance(probe := container.get(field), dict):
                changed[field] = self._rewrite(container, field, word, probe)
        if isinstance(hooks := container.get("lifecycle"), dict):
            changed["lifecycle"] = {
                field: self._rewrite(container, field, _HOOKS[field], hook)
                # The kubelet carries out no tcpSocket hook, so there is nothing to keep working.
                if field in _HOOKS and isinstance(hook, dict) and "httpGet" in hook
                else hook
                for field, hook in hooks.items()
            }
        return changed

    def _rewrite(self, container: JsonObject, field: str, word: str, probe: JsonObject) -> JsonObject:
        name = container.get("name", "")
        path = _path(name, word)
        action = next((kind for kind in _ACTIONS if isinstance(probe.get(kind), dict)), "")
        said = probe.get(action, {})
        port = _port(said.get("port"), container)
        if not action or port is None or port in self._passed or said.get("host"):
            return probe
        period = probe.get("periodSeconds") or _DEFAULT_PERIOD_SECONDS
        if action == "grpc":
            asked_at = self._asked_at[port]
            self.probes.append(AppProbe(kind=ProbeKind.GRPC, port=port, asked_at=asked_at))
            asked = {**said, "port": asked_at}
            new = {**probe, "grpc": asked}
        elif action == "httpGet":
            kind = ProbeKind.HTTPS if said.get("scheme") == "HTTPS" else ProbeKind.HTTP
            self.probes.append(AppProbe(kind=kind, port=port, path=path, target=_target(said.get("path"))))
            asked = {**said, "path": path, "port": READINESS_PORT, "scheme": "HTTP"}
            new = {**probe, "httpGet": asked}
        else:
            self.probes.append(AppProbe(kind=ProbeKind.TCP, port=port, path=path, period_seconds=period))
            new = _with_action(probe, {"httpGet": {"path": path, "port": READINESS_PORT, "scheme": "HTTP"}})
        self.originals.setdefault(name, {})[field] = {action: said}
        return new


def _grpc_ports(container: JsonObject) -> Iterator[int]:
    for field in _PROBES:
        probe = container.get(field)
        if isinstance(probe, dict) and isinstance(probe.get("grpc"), dict):
            port = _port(probe["grpc"].get("port"), container)
            if port is not None:
                yield port


def _path(container: str, word: str) -> str:
    return f"/probes/{container}/{word}"


def _target(path: object) -> str:
    """What the kubelet would ask for: it escapes what no URL may hold, adds a slash, and keeps a fragment to itself."""
    text = quote(path.partition("#")[0], safe=_PATH_SAFE) if isinstance(path, str) else ""
    return text if text.startswith("/") else f"/{text}"


def _port(said: object, container: JsonObject) -> int | None:
    """The number of a port; a name is that of one of the container's own ports. None: the probe can never succeed."""
    if isinstance(said, str):
        named = (port.get("containerPort") for port in container.get("ports") or () if port.get("name") == said)
        said = next(named, int(said) if said.isdecimal() else None)
    return said if isinstance(said, int) and 0 < said < 65536 else None


def _with_action(probe: JsonObject, action: JsonObject) -> JsonObject:
    return {**{key: value for key, value in probe.items() if key not in _ACTIONS}, **action}


def _is_ours(probe: JsonObject, path: str) -> bool:
    get, grpc = probe.get("httpGet") or {}, probe.get("grpc") or {}
    return (get.get("port") == READINESS_PORT and get.get("path") == path) or grpc.get("port", 0) >= FIRST_GRPC_PORT


def _order(probe: AppProbe) -> tuple[str, int, int, str]:
    return probe.kind.value, probe.port, probe.asked_at, probe.path
