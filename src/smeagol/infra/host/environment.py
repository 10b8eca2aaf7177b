"""What a container finds: its command with variables expanded, its environment, and the files of /etc. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from smeagol.errors import SmeagolError
from smeagol.infra.host.desired import ContainerOnHost, EnvVar, IPAddress, PodSpecOnHost

__all__ = ["NoCommandError", "UnknownFieldError", "command_of", "environment_of", "etc_files", "expand"]

_REFERENCE = re.compile(r"\$(\$|\([^)\s]+\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class NoCommandError(SmeagolError):
    """A container names an image only."""

    code = "SMI-H005"


class UnknownFieldError(SmeagolError):
    """An environment variable asks for a field that this host does not know."""

    code = "SMI-H006"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` where NAME is known; `$$(NAME)` is a literal `$(NAME)` (Kubernetes: container args)."""

    def one(match: re.Match[str]) -> str:
        inner = match[1]
        return "$" if inner == "$" else variables.get(inner[1:-1], match[0])

    return _REFERENCE.sub(one, text)


def environment_of(
    pod: PodSpecOnHost, container: ContainerOnHost, *, base: Mapping[str, str], node_ips: Sequence[IPAddress]
) -> dict[str, str]:
    """The container's environment: this machine's `base`, then its own variables, each seeing those before it.

    Raises UnknownFieldError for a `fieldRef` to a field that is not among Kubernetes' downward API.
    """
    own: dict[str, str] = {}
    for number, variable in enumerate(container.env):
        if variable.field_path:
            where = f"Pod {pod.ref}, container {container.name}: env[{number}]"
            own[variable.name] = _field(pod, variable, node_ips, where)
        else:
            own[variable.name] = expand(variable.value, own)
    return {**base, "HOSTNAME": pod.hostname, **own}


def command_of(pod: PodSpecOnHost, container: ContainerOnHost, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The command line. Raises NoCommandError if the manifest has none, since there is no image to take it from."""
    if not container.command:
        image = f" ({container.image})" if container.image else ""
        raise NoCommandError(
            f"the container has an image{image} but no command, and standalone mode runs no images",
            where=f"Pod {pod.ref}, container {container.name}",
            fix="give it a `command` that this machine can run",
        )
    return tuple(expand(part, variables) for part in (*container.command, *container.args))


def _field(pod: PodSpecOnHost, variable: EnvVar, node_ips: Sequence[IPAddress], where: str) -> str:
    fields = {
        "metadata.name": pod.ref.name,
        "metadata.namespace": pod.ref.namespace,
        "metadata.uid": pod.uid,
        "spec.serviceAccountName": pod.service_account,
        "spec.nodeName": "localhost",
        "status.podIP": str(pod.ips[0]) if pod.ips else "",
        "status.podIPs": ",".join(map(str, pod.ips)),
        "status.hostIP": str(node_ips[0]) if node_ips else "",
        "status.hostIPs": ",".join(map(str, node_ips)),
    }
    if variable.field_path in fields:
        return fields[variable.field_path]
    if subscript := _SUBSCRIPT.fullmatch(variable.field_path):
        return dict(pod.labels if subscript[1] == "labels" else pod.annotations).get(subscript[2], "")
    raise UnknownFieldError(
        f"there is no field {variable.field_path!r} of a Pod for the variable {variable.name}",
        where=where,
        fix="use one of " + ", ".join(fields) + ", metadata.labels['…'], metadata.annotations['…']",
    )


def etc_files(
    pod: PodSpecOnHost, *, name_servers: Sequence[IPAddress], cluster_domain: str, nsswitch: str
) -> dict[str, bytes]:
    """Files of /etc by name, so that names resolve in the Pod as in a cluster (Kubernetes: DNS for Pods).

    `nsswitch` is this machine's nsswitch.conf: names must come from the Pod's own files and DNS, whatever else it has.
    """
    services = f"svc.{cluster_domain}"
    resolver = [
        *(f"nameserver {ip}" for ip in name_servers),
        f"search {pod.ref.namespace}.{services} {services} {cluster_domain}",
        "options ndots:5",
    ]
    hosts = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        *(f"{ip} {pod.hostname}" for ip in pod.ips),
    ]
    switch = re.sub(r"(?m)^hosts:.*$", "hosts: files dns", nsswitch)
    return {
        "resolv.conf": _lines(resolver),
        "hosts": _lines(hosts),
        "hostname": _lines([pod.hostname]),
        "nsswitch.conf": switch.encode(),
    }


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
