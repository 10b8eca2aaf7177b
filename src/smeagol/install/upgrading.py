"""From an installation to one of this version: what is there is read and brought in line, and what is left goes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from smeagol.errors import SmeagolError
from smeagol.install import resources
from smeagol.install.adapter_manifests import installed_adapters
from smeagol.install.api_server import ApiServer, Live
from smeagol.install.facts import Workload
from smeagol.install.installing import Outcome, Step
from smeagol.install.manifests import CONTROLLER, OPTIONS, manifests
from smeagol.install.owners import owners_of, proxy_images
from smeagol.install.removing import release
from smeagol.install.resources import (
    CREATED_ANNOTATION,
    FIELD_MANAGER,
    INSTALLED,
    MANAGED_BY,
    OWN_LABELS,
    PART_LABELS,
)
from smeagol.install.settings import PROXY_IMAGE, InstallSettings, proxy_option
from smeagol.objects import Pod
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ObjectRef

__all__ = [
    "Installed",
    "NotInstalledError",
    "OthersInstallationError",
    "TooFarError",
    "find_installed",
    "outdated",
    "prune",
    "refuse_others",
    "refuse_skew",
]

VERSION_LABEL = "app.kubernetes.io/version"


class NotInstalledError(SmeagolError):
    """There is nothing to upgrade."""

    code = "SMI-K119"


class OthersInstallationError(NotInstalledError):
    """What there is was applied by another tool, and is for that tool to change."""


class TooFarError(SmeagolError):
    """The versions are too far apart to work beside each other while one replaces the other."""

    code = "SMI-K120"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The installation that is there, and how it was set up. `adapters`: their names, which the settings lack.

    `manager`: who applied it, `smeagol-install` or such as `Helm`.
    """

    version: str
    settings: InstallSettings
    manager: str
    adapters: tuple[str, ...] = ()


def find_installed(server: ApiServer) -> Installed:
    """Read it from its Deployment, wherever it is and whoever applied it. Raises NotInstalledError."""
    found = [live for live in server.list(resources.DEPLOYMENT, labels=PART_LABELS) if live.ref.name == CONTROLLER]
    if not found:
        raise NotInstalledError("Smeagol is not installed in this cluster", fix="Install it: smeagol install")
    return replace(installed_from(found[0]), adapters=installed_adapters(server))


def refuse_others(installed: Installed) -> None:
    """Raises OthersInstallationError unless `smeagol install` has applied it."""
    if installed.manager != FIELD_MANAGER:
        namespace = installed.settings.namespace
        raise OthersInstallationError(
            f"Smeagol was installed by {installed.manager or 'another tool'}, not by smeagol install",
            where=f"namespace {namespace}",
            fix=f"Do it by the same: Helm has helm upgrade and helm uninstall, with -n {namespace}",
        )


def installed_from(deployment: Live) -> Installed:
    """What a Deployment says of how it was made. Pure."""
    workload = deployment.as_(Workload)
    container = workload.spec.template.spec.containers[0]
    options, further = _read(container.args)

    def one(option: str, default: str) -> str:
        return options[option][-1] if options[option] else default

    version = deployment.metadata.labels.get(VERSION_LABEL, "")
    settings = InstallSettings(
        version=version,
        image=container.image,
        namespace=deployment.metadata.namespace,
        replicas=workload.spec.replicas,
        pod_cidrs=tuple(options["--pod-cidr"]),
        cluster_domain=one("--cluster-domain", DEFAULT_CLUSTER_DOMAIN),
        trust_domain=one("--trust-domain", ""),
        ca_secret=one("--ca-secret", ""),
        ca_signer=one("--ca-signer", ""),
        ca_roots=one("--ca-roots", ""),
        proxy_cpu_request=one(proxy_option("cpu_request"), ""),
        proxy_cpu_limit=one(proxy_option("cpu_limit"), ""),
        proxy_memory_request=one(proxy_option("memory_request"), ""),
        proxy_memory_limit=one(proxy_option("memory_limit"), ""),
        proxy_concurrency=one(proxy_option("concurrency"), ""),
        further=further,
    )
    proxy_image = container.value_of("SMEAGOL_PROXY_IMAGE")
    return Installed(
        version=version,
        settings=replace(settings, proxy_image=proxy_image) if proxy_image else settings,
        manager=deployment.metadata.labels.get(MANAGED_BY, ""),
    )


def _read(arguments: Sequence[str]) -> tuple[Mapping[str, list[str]], tuple[str, ...]]:
    """The options that an installation writes, each with its values, and everything else as it is."""
    options: dict[str, list[str]] = defaultdict(list)
    further: list[str] = []
    words = iter(arguments[1:])  # after the command's name
    for word in words:
        option, equals, value = word.partition("=")
        if option in OPTIONS:
            options[option].append(value if equals else next(words, ""))
        else:
            further.append(word)
    return options, tuple(further)


def next_image(image: str, old: str, new: str) -> str:
    """The image of the new version: the same one with the new version as its tag, if the old one was tagged so."""
    return f"{image.removesuffix(f':{old}')}:{new}" if old and image.endswith(f":{old}") else image


def next_proxy_image(image: str) -> str:
    """The usual image is followed by the usual one of this version; any other was chosen, and stays."""
    repository, _, _ = PROXY_IMAGE.partition(":")
    return PROXY_IMAGE if image.startswith(f"{repository}:distroless-v") else image


def refuse_skew(old: str, new: str) -> None:
    """While replicas are replaced, both versions run, and read what the other writes: one minor version apart at most.

    Raises TooFarError. A version that cannot be read is refused too.
    """
    before, after = _minor(old), _minor(new)
    if before is None or after is None or before[0] != after[0] or abs(before[1] - after[1]) > 1:
        raise TooFarError(
            f"version {old or 'unknown'} is installed, and this is {new}: more than one minor version apart",
            fix="Upgrade by one minor version after the other, or insist with --any-version",
        )


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def prune(server: ApiServer, settings: InstallSettings, *, dry_run: bool) -> Iterator[Step]:
    """Remove what an earlier version had and this one has not, last applied first.

    Definitions and namespaces stay: with them would go what users have put there.
    """
    wanted = {manifest.ref for manifest in manifests(settings)}
    for resource in reversed(INSTALLED):
        for live in server.list(resource, labels=OWN_LABELS):
            if live.ref in wanted:
                continue
            if resource in (resources.CRD, resources.NAMESPACE):
                yield Step(object=live.ref, outcome=Outcome.KEPT)
            elif CREATED_ANNOTATION not in live.metadata.annotations:
                yield Step(object=live.ref, outcome=Outcome.RELEASED if dry_run else release(server, live))
            else:
                if not dry_run:
                    server.delete(live)
                yield Step(object=live.ref, outcome=Outcome.DELETED)


def outdated(server: ApiServer, proxy_image: str) -> Mapping[ObjectRef, int]:
    """Whose Pods run another proxy than new ones would get, and how many: they are to be restarted, when it suits."""
    pods = [live.as_(Pod) for live in server.list(resources.POD)]
    return outdated_owners(pods, proxy_image)


def outdated_owners(pods: Sequence[Pod], proxy_image: str) -> Mapping[ObjectRef, int]:
    """By owner. Pure."""
    return owners_of(pod for pod in pods if any(image != proxy_image for image in proxy_images(pod)))
