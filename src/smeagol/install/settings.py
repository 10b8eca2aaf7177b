"""What can be chosen about an installation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from smeagol.errors import SmeagolError
from smeagol.install.access import AUTHORITY_SECRET
from smeagol.plan.peer import PeerProvider
from smeagol.plan.proxy_size import CURES, ProxySize
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN

__all__ = [
    "PROXY_IMAGE",
    "InstallSettings",
    "SettingError",
    "check_one_authority",
    "check_signer",
    "proxy_option",
    "proxy_size",
]

PROXY_IMAGE = "envoyproxy/envoy:distroless-v1.40.0"
"""The upstream Envoy of the version that the provider's configuration is made for."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SIGNER_PATH = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class SettingError(SmeagolError):
    """A setting has a value that it cannot have."""

    code = "SMI-K116"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSettings:
    """`pod_cidrs`: where Pod addresses lie, so that proxies know a Pod's own address when one is dialled.

    `trust_domain` is that of the identities, by default the cluster domain. `ca_secret`: the Secret with the
    intermediate to sign with, by default the mesh makes its own; or `ca_signer`: who signs one that is asked for, and
    `ca_roots`: the ConfigMap with that signer's roots. `proxy_cpu_request` and so on: what proxies may use whose Pods
    say nothing, by default as a ProxySize has it. `adapters`: to other meshes, run beside the control plane.
    `further`: arguments of the control plane that no setting stands for; an upgrade finds them and leaves them.
    Raises SettingError.
    """

    version: str
    image: str
    namespace: str = "smeagol-system"
    proxy_image: str = PROXY_IMAGE
    replicas: int = 2
    pod_cidrs: tuple[str, ...] = ()
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = ""
    ca_secret: str = ""
    ca_signer: str = ""
    ca_roots: str = ""
    proxy_cpu_request: str = ""
    proxy_cpu_limit: str = ""
    proxy_memory_request: str = ""
    proxy_memory_limit: str = ""
    proxy_concurrency: str = ""
    adapters: tuple[PeerProvider, ...] = ()
    further: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.namespace):
            raise SettingError(
                f"'{self.namespace}' cannot be the name of a namespace",
                where="--namespace",
                fix="Use at most 63 lower case letters, digits and '-', beginning and ending with a letter or digit",
            )
        if self.namespace == "default" or self.namespace.startswith("kube-"):
            raise SettingError(
                f"the namespace '{self.namespace}' belongs to Kubernetes",
                where="--namespace",
                fix="Take one that Smeagol has for itself; smeagol-system is the usual",
            )
        if self.ca_secret and (not _SUBDOMAIN.fullmatch(self.ca_secret) or self.ca_secret == AUTHORITY_SECRET):
            raise SettingError(
                f"'{self.ca_secret}' cannot be the Secret that an intermediate is handed over in",
                where="--ca-secret",
                fix=f"Name a Secret in the namespace of Smeagol, another than its own {AUTHORITY_SECRET}",
            )
        check_signer(self.ca_signer, self.ca_roots)
        proxy_size(self.proxy_sizes)
        if self.replicas < 1:
            raise SettingError("there is no control plane without a replica", where="--replicas", fix="Use 2 or more")
        for option, image in (("--image", self.image), ("--proxy-image", self.proxy_image)):
            if not image or re.search(r"\s", image):
                raise SettingError(
                    f"'{image}' is not the name of an image", where=option, fix="Write it as registry/name:tag"
                )
        for cidr in self.pod_cidrs:
            try:
                ip_network(cidr)
            except ValueError as error:
                raise SettingError(
                    f"'{cidr}' is not a range of addresses: {error}",
                    where="--pod-cidr",
                    fix="Write it as 10.244.0.0/16; kubectl get nodes -o jsonpath={..podCIDRs} may show it",
                ) from error

    @property
    def proxy_sizes(self) -> Mapping[str, str]:
        """What is chosen of a ProxySize, by its fields; empty where nothing is."""
        return {field: getattr(self, f"proxy_{field}") for field in CURES}


def proxy_option(field: str) -> str:
    """The option for a field of ProxySize, of `smeagol install` and of the controller."""
    return f"--proxy-{field.replace('_', '-')}"


def proxy_size(chosen: Mapping[str, str]) -> ProxySize:
    """What is chosen, by the fields of ProxySize; what is empty is as ever. Raises SettingError."""
    size = ProxySize()
    for field, text in chosen.items():
        try:
            size = size.changed(field, text) if text else size
        except ValueError as error:
            raise SettingError(f"'{text}' is not {error}", where=proxy_option(field), fix=CURES[field]) from None
    for what, words in size.excesses():
        both = [proxy_option(f"{what}_{side}") for side in ("request", "limit")]
        raise SettingError(words, where=", ".join(both), fix=f"Give {' and '.join(both)}")
    return size


def check_signer(signer: str, roots: str) -> None:
    """Raises SettingError if there cannot be such a signer of intermediates, or such a ConfigMap of its roots."""
    domain, _, path = signer.partition("/")
    if signer and (not _SUBDOMAIN.fullmatch(domain) or "." not in domain or not _SIGNER_PATH.fullmatch(path)):
        raise SettingError(
            f"'{signer}' is not the name of a signer",
            where="--ca-signer",
            fix="Write it as its requests have it in spec.signerName, DOMAIN/NAME",
        )
    if domain == "kubernetes.io" or domain.endswith(".kubernetes.io"):
        raise SettingError(
            f"'{signer}' is a signer of Kubernetes itself, and those never sign a certificate authority",
            where="--ca-signer",
            fix="Name one that does, such as an Issuer of cert-manager",
        )
    if bool(signer) != bool(roots) or (roots and not _SUBDOMAIN.fullmatch(roots)):
        raise SettingError(
            "a signer needs a ConfigMap with its roots, and the other way round",
            where="--ca-signer, --ca-roots",
            fix="Give both; the ConfigMap is in the namespace of Smeagol, with the roots in its ca.crt",
        )


def check_one_authority(ca_secret: str, ca_signer: str) -> None:
    """Raises SettingError if an intermediate would come from two places."""
    if ca_secret and ca_signer:
        raise SettingError(
            "an intermediate cannot both be handed over and be asked for",
            where="--ca-secret, --ca-signer",
            fix="Give one of them",
        )
