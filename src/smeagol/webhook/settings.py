"""What injected containers are made of, and what a Pod's own annotations change of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final

from smeagol.errors import SmeagolError
from smeagol.intent import EXCLUDE_INBOUND, EXCLUDE_OUTBOUND, port_list
from smeagol.plan.proxy_size import CURES, ProxySize

__all__ = [
    "ANNOTATIONS",
    "ANNOTATION_DOMAIN",
    "PROXY_UID",
    "BadAnnotationError",
    "InjectionSettings",
    "PodOptions",
    "pod_options",
]

ANNOTATION_DOMAIN = "smeagol.dev"
PROXY_UID = 1337
"""The user that the proxy runs as, and nobody else in a Pod: the redirect rules let its connections through."""


class BadAnnotationError(SmeagolError):
    """A Pod's annotation for its proxy says what cannot be done."""

    code = "SMI-I001"


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionSettings:
    """How Pods get their proxy.

    `proxy_image`: any image with `envoy` in its path. `init_image`: any with `python3` and Smeagol. `own_namespace`:
    where the control plane runs; its Pods never get a proxy, nor do those of `excluded_namespaces`.
    `discovery_address`: `host:port` as proxies reach the control plane. `native_sidecar`: False for clusters
    without that feature, where the proxy is an ordinary container: then Jobs do not end, and an application may start
    before it.
    """

    proxy_image: str
    init_image: str
    discovery_address: str = "smeagol-discovery.smeagol-system.svc:18000"
    audience: str = "smeagol"
    own_namespace: str = "smeagol-system"
    excluded_namespaces: frozenset[str] = frozenset()
    native_sidecar: bool = True
    image_pull_policy: str = ""
    size: ProxySize = field(default_factory=ProxySize)
    log_level: str = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """The settings as they hold for one Pod, and the application's ports that pass by its proxy."""

    settings: InjectionSettings
    inbound_passed: tuple[int, ...] = ()
    outbound_passed: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


_LOG_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_IMAGE = re.compile(r"[a-zA-Z0-9][\w.:/@-]{0,511}", re.ASCII)


def pod_options(
    annotations: Mapping[str, str], settings: InjectionSettings
) -> tuple[PodOptions, tuple[BadAnnotationError, ...]]:
    """What the annotations make of the settings, and all that is wrong with them."""
    options = PodOptions(settings=settings)
    problems: list[BadAnnotationError] = []
    warnings: list[str] = []
    for key, value in sorted(annotations.items()):
        domain, _, name = key.partition("/")
        if domain != ANNOTATION_DOMAIN:
            continue
        change = _CHANGES.get(name)
        if change is None:
            warnings += _not_known(key, name)
            continue
        try:
            options = change(options, value.strip())
        except ValueError as error:
            where = f"metadata.annotations[{key}]"
            problems.append(BadAnnotationError(f"'{value[:80]}' is not {error}", where=where, fix=_CURES[name]))
    problems += _excesses(annotations, options.settings.size)
    return replace(options, warnings=tuple(warnings)), tuple(problems)


def _not_known(key: str, name: str) -> list[str]:
    """A warning for what looks like one of ours; other parts of Smeagol have annotations too."""
    close = get_close_matches(name, _CHANGES, n=1)
    return [f"annotation {key} has no meaning; did you mean {ANNOTATION_DOMAIN}/{close[0]}?"] if close else []


def _excesses(annotations: Mapping[str, str], size: ProxySize) -> Iterator[BadAnnotationError]:
    """A Pod that says only one side has the other from the installation."""
    for what, words in size.excesses():
        both = [f"{ANNOTATION_DOMAIN}/proxy-{what}-{side}" for side in ("request", "limit")]
        if said := [key for key in both if key in annotations]:
            yield BadAnnotationError(words, where=f"metadata.annotations[{said[0]}]", fix=f"Give {' and '.join(both)}")


def _sized(field: str) -> Callable[[PodOptions, str], PodOptions]:
    def change(options: PodOptions, text: str) -> PodOptions:
        settings = options.settings
        return replace(options, settings=replace(settings, size=settings.size.changed(field, text)))

    return change


def _image(options: PodOptions, text: str) -> PodOptions:
    if not _IMAGE.fullmatch(text):
        raise ValueError("the name of an image")
    return replace(options, settings=replace(options.settings, proxy_image=text))


def _log_level(options: PodOptions, text: str) -> PodOptions:
    if text not in _LOG_LEVELS:
        raise ValueError("a log level of Envoy")
    return replace(options, settings=replace(options.settings, log_level=text))


def _inbound_passed(options: PodOptions, text: str) -> PodOptions:
    return replace(options, inbound_passed=port_list(text))


def _outbound_passed(options: PodOptions, text: str) -> PodOptions:
    return replace(options, outbound_passed=port_list(text))


_PORTS_CURE = "Write numbers from 1 to 65535 with commas between them, as in '9090,9091'"
_OPTIONS: Final[Mapping[str, tuple[Callable[[PodOptions, str], PodOptions], str]]] = {
    "proxy-image": (_image, "Write it as for any container"),
    **{f"proxy-{field.replace('_', '-')}": (_sized(field), cure) for field, cure in CURES.items()},
    "proxy-log-level": (_log_level, f"Write one of {', '.join(_LOG_LEVELS)}"),
    EXCLUDE_INBOUND.rpartition("/")[2]: (_inbound_passed, _PORTS_CURE),
    EXCLUDE_OUTBOUND.rpartition("/")[2]: (_outbound_passed, _PORTS_CURE),
}
ANNOTATIONS = tuple(f"{ANNOTATION_DOMAIN}/{name}" for name in _OPTIONS)
"""What a Pod may say of its own proxy."""
_CHANGES = {name: change for name, (change, _) in _OPTIONS.items()}
_CURES = {name: cure for name, (_, cure) in _OPTIONS.items()}
