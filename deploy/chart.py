"""Writes the Helm chart from the manifests of `smeagol install`, so that the two are one: `make chart`.

Each manifest is made with stand-ins for what can be chosen, and in its text every stand-in becomes an expression over
the chart's values. What an installation has, the chart has at once; a setting that is new must be named in `VALUES`,
`NOT_VALUES` or `LEFT_OUT`, or the tests fail.

Definitions are in `crds/`: Helm brings those before all else, as the ProviderClass of the chart needs, and never
deletes them, which would delete the objects of all users. It does not change them either: see the notes of the chart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smeagol import __version__
from smeagol.api.documents import Json, write_text
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.cli.install import IMAGE
from smeagol.install import InstallSettings, Manifest, manifests, resources
from smeagol.install.settings import PROXY_IMAGE, proxy_option
from smeagol.plan.proxy_size import ProxySize

__all__ = ["FOLDER", "LEFT_OUT", "NOT_VALUES", "VALUES", "chart"]

FOLDER = Path(__file__).parent / "helm" / "smeagol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting that is a value of the chart. `stand_in` is one of its own in the manifests' text.

    `flag`: the argument of the controller that comes once for each item of the value, and not at all without one.
    `asks_for`: the resource that the controller has rights to with the value only.
    """

    name: str
    stand_in: Any
    default: Json
    comment: str
    schema: Mapping[str, Json]
    flag: str = ""
    asks_for: str = ""


_TEXT: Mapping[str, Json] = {"type": "string"}
_NAME: Mapping[str, Json] = {"type": "string", "minLength": 1}
_TEXTS: Mapping[str, Json] = {"type": "array", "items": _NAME}

_QUANTITY: Mapping[str, Json] = {
    "type": ["string", "number"],
    "pattern": "^([0-9]+([.][0-9]+)?([mkMGTPE]|[KMGTPE]i)?)?$",
}
_THREADS: Mapping[str, Json] = {"type": ["string", "integer"], "pattern": "^([1-9][0-9]{0,2})?$"}


def _size(field: str, name: str, stand_in: str, meaning: str) -> Value:
    """Of the proxies, by a field of ProxySize."""
    return Value(
        name=name,
        stand_in=stand_in,
        default="",
        comment=f"{meaning}, unless its Pod says otherwise; empty for {getattr(ProxySize(), field)}.",
        schema=_THREADS if field == "concurrency" else _QUANTITY,
        flag=proxy_option(field),
    )


VALUES: Mapping[str, Value] = {
    "image": Value(
        name="image",
        stand_in="stand-in.invalid/controller:1",
        default=IMAGE,
        comment="Image of the control plane, as deploy/Containerfile builds it; nodes must be able to get it.",
        schema=_NAME,
    ),
    "proxy_image": Value(
        name="proxyImage",
        stand_in="stand-in.invalid/proxy:1",
        default=PROXY_IMAGE,
        comment="Image of the proxies.",
        schema=_NAME,
    ),
    "replicas": Value(
        name="replicas",
        stand_in=424242,
        default=2,
        comment="Replicas of the control plane. All serve proxies; one of them, by Lease, writes.",
        schema={"type": "integer", "minimum": 1},
    ),
    "pod_cidrs": Value(
        name="podCIDRs",
        stand_in=("203.0.113.0/24",),
        default=[],
        comment="Where the addresses of all Pods lie, such as 10.244.0.0/16: proxies know a Pod's own address by it.",
        schema=_TEXTS,
        flag="--pod-cidr",
    ),
    "cluster_domain": Value(
        name="clusterDomain",
        stand_in="cluster-domain.invalid",
        default="cluster.local",
        comment="DNS domain of the cluster.",
        schema=_NAME,
    ),
    "trust_domain": Value(
        name="trustDomain",
        stand_in="trust-domain.invalid",
        default="",
        comment="Trust domain of the identities; empty for the cluster domain. A change is a new identity for all.",
        schema=_TEXT,
        flag="--trust-domain",
    ),
    "ca_secret": Value(
        name="caSecret",
        stand_in="stand-in-ca-secret",
        default="",
        comment="Secret with an intermediate to sign with, as cert-manager writes it; empty for the mesh's own CA.",
        schema=_TEXT,
        flag="--ca-secret",
    ),
    "ca_signer": Value(
        name="caSigner",
        stand_in="stand-in.invalid/signer",
        default="",
        comment="Who signs an intermediate by a CertificateSigningRequest, in place of caSecret; needs caRoots.",
        schema=_TEXT,
        flag="--ca-signer",
        asks_for="certificatesigningrequests",
    ),
    "ca_roots": Value(
        name="caRoots",
        stand_in="stand-in-ca-roots",
        default="",
        comment="ConfigMap with the roots of caSigner in its ca.crt.",
        schema=_TEXT,
        flag="--ca-roots",
    ),
    "proxy_cpu_request": _size("cpu_request", "proxyCPURequest", "111m", "CPU that is set aside for a proxy"),
    "proxy_cpu_limit": _size("cpu_limit", "proxyCPULimit", "222m", "CPU that a proxy may use"),
    "proxy_memory_request": _size("memory_request", "proxyMemoryRequest", "111Ti", "Memory set aside for a proxy"),
    "proxy_memory_limit": _size("memory_limit", "proxyMemoryLimit", "222Ti", "Memory that a proxy may use"),
    "proxy_concurrency": _size("concurrency", "proxyConcurrency", "777", "Worker threads of a proxy"),
}
"""By the field of InstallSettings, in the order of values.yaml."""

NOT_VALUES: Mapping[str, tuple[str, str]] = {
    "namespace": ("stand-in-namespace", ".Release.Namespace"),
    "version": ("0.0.0-stand-in", ".Chart.AppVersion"),
}
"""Fields that Helm knows by itself: their stand-in and where it is."""

LEFT_OUT = frozenset({"adapters", "further"})
"""Settings without a value: what adapters may do is computed (`smeagol providers --access` prints it), and `further` is
what `smeagol upgrade` has found added by hand."""

_POD_VALUES: Mapping[str, str] = {
    "imagePullSecrets": "To get the control plane's image, as `- name: …`.",
    "nodeSelector": "Which nodes the control plane may run on.",
    "tolerations": "Which taints of nodes it bears.",
    "affinity": "Which nodes it prefers, beside being spread over hosts. The default spreads it over zones.",
    "priorityClassName": "While it is away nothing changes; still it should not be the first to go.",
}
"""Fields of the control plane's Pods that are chosen in the chart, and not in `smeagol install`."""
_POD_DEFAULTS: Mapping[str, Json] = {
    "imagePullSecrets": [],
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
    "priorityClassName": "",
}
_MANAGED_BY = "app.kubernetes.io/managed-by"
_DEFAULT_CLASS = "defaultClass"
_GENERATED = "# Written by deploy/chart.py from the manifests of `smeagol install`: make chart.\n"


def chart() -> dict[str, str]:
    """The text of every file that is written, by its path in the chart."""
    settings = InstallSettings(
        **{field: value.stand_in for field, value in VALUES.items()},
        **{field: stand_in for field, (stand_in, _) in NOT_VALUES.items()},
    )
    files = {"Chart.yaml": _chart_yaml(), "values.yaml": _values_yaml(), "values.schema.json": _schema()}
    for manifest in manifests(settings):
        if manifest.resource == resources.NAMESPACE:
            continue  # the release's own, which is there before the release
        if manifest.resource == resources.CRD:
            # Nobody's: Helm does not look after definitions, and `smeagol check` would find them in other hands.
            definition: Any = manifest.to_json()
            del definition["metadata"]["labels"][_MANAGED_BY]
            files[f"crds/{manifest.name}.yaml"] = _GENERATED + write_text(definition)
        else:
            files[f"templates/{manifest.name}-{manifest.resource.kind.lower()}.yaml"] = _template(manifest)
    return files


def _owned_by_helm(manifest: Manifest) -> dict[str, Json]:
    """Not by `smeagol install`, and so not removed by `smeagol uninstall`."""
    found = manifest.to_json()
    text = json.dumps(found).replace(json.dumps(resources.FIELD_MANAGER), json.dumps("Helm"))
    owned: dict[str, Json] = json.loads(text)
    return owned


def _template(manifest: Manifest) -> str:
    whole: Any = _owned_by_helm(manifest)
    if manifest.resource == resources.PROVIDER_CLASS:
        whole["metadata"]["annotations"][DEFAULT_CLASS_ANNOTATION] = "stand-in-default-class"
    if manifest.resource == resources.DEPLOYMENT:
        pod = whole["spec"]["template"]["spec"]
        pod["containers"][0]["resources"] = "stand-in-resources"
        pod |= dict.fromkeys(_POD_VALUES, "stand-in-pod-value")
    text = write_text(whole)
    assert "{{" not in text, f"{manifest.ref} has what Helm would take for an expression"  # noqa: S101
    text = re.sub("^---\n", "", text)
    text = text.replace("stand-in-default-class", f'"{{{{ .Values.{_DEFAULT_CLASS} }}}}"')
    text = re.sub(
        r"^( *)(\S+): stand-in-pod-value$",
        r"\1{{- with .Values.\2 }}\n\1\2: {{- toYaml . | nindent _\1_ }}\n\1{{- end }}",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(
        r"^( *)resources: stand-in-resources$",
        r"\1resources: {{- toYaml .Values.resources | nindent _\1_ }}",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"_( *)_", lambda match: str(len(match[1]) + 2), text)
    for value in VALUES.values():
        text = _with_value(text, value)
    for stand_in, place in NOT_VALUES.values():
        text = _replaced(text, stand_in, place)
    return _GENERATED + text


def _with_value(text: str, value: Value) -> str:
    place = f".Values.{value.name}"
    if not value.flag:
        return _replaced(text, value.stand_in, place)
    many = isinstance(value.stand_in, tuple)
    stand_in = value.stand_in[0] if many else value.stand_in
    # A rule of a Role, if it is about what the value names, or asks for.
    about = re.escape(value.asks_for or stand_in)
    rules = re.compile(rf"^- apiGroups:\n(?:  .*\n)*?  - {about}\n(?:  .*\n)*", re.MULTILINE)
    text = rules.sub(
        lambda match: f"{{{{- with {place} }}}}\n{match[0].replace(stand_in, '{{ . | quote }}')}{{{{- end }}}}\n", text
    )
    arguments = re.compile(rf"^( *)- {re.escape(value.flag)}\n *- (['\"]?){re.escape(stand_in)}\2$", re.MULTILINE)
    begin = "range" if many else "with"
    return arguments.sub(
        rf"\1{{{{- {begin} {place} }}}}\n\1- {value.flag}\n\1- {{{{ . | quote }}}}\n\1{{{{- end }}}}", text
    )


def _replaced(text: str, stand_in: str | int, place: str) -> str:
    """Where it is all there is, it is quoted, so that it stays the text that it is."""
    if isinstance(stand_in, int):
        return re.sub(rf": {stand_in}$", f": {{{{ {place} }}}}", text, flags=re.MULTILINE)
    whole = re.compile(rf"(?<=[:-] )(['\"]?){re.escape(stand_in)}\1$", re.MULTILINE)
    return whole.sub(f"{{{{ {place} | quote }}}}", text).replace(stand_in, f"{{{{ {place} }}}}")


def _chart_yaml() -> str:
    return _GENERATED + write_text(
        {
            "apiVersion": "v2",
            "name": "smeagol",
            "description": "The Service Mesh Interface made real, on Envoy proxies.",
            "type": "application",
            "version": __version__,
            "appVersion": __version__,
            "kubeVersion": ">=1.29.0-0",
            "keywords": ["service-mesh", "smi", "envoy", "mtls", "canary"],
        }
    )


def _pod() -> Any:
    """The spec of the control plane's Pods in `smeagol install`."""
    defaults = InstallSettings(version=__version__, image=IMAGE)
    (deployment,) = [m.to_json() for m in manifests(defaults) if m.resource == resources.DEPLOYMENT]
    whole: Any = deployment
    return whole["spec"]["template"]["spec"]


def _values_yaml() -> str:
    entries = [(value.name, value.comment, value.default) for value in VALUES.values()]
    entries.append((_DEFAULT_CLASS, "Whether Smeagol serves the objects that name no ProviderClass.", True))
    pod = _pod()
    entries.append(("resources", "Of each replica of the control plane.", pod["containers"][0]["resources"]))
    entries += [(name, comment, pod.get(name, _POD_DEFAULTS[name])) for name, comment in _POD_VALUES.items()]
    return _GENERATED + "".join(
        f"\n# {comment}\n" + re.sub("^---\n", "", write_text({name: default})) for name, comment, default in entries
    )


def _schema() -> str:
    """By which Helm refuses a value that is misspelt or of another type."""
    kinds = {list: "array", dict: "object", str: "string"}
    properties: dict[str, Json] = {value.name: dict(value.schema) for value in VALUES.values()}
    properties |= {_DEFAULT_CLASS: {"type": "boolean"}, "resources": {"type": "object"}}
    properties |= {name: {"type": kinds[type(default)]} for name, default in _POD_DEFAULTS.items()}
    properties |= {"global": {"type": "object"}}  # Helm's own
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
            },
            indent=2,
        )
        + "\n"
    )


def main() -> None:
    """Write what has changed, and remove what is no more."""
    files = chart()
    for folder in ("crds", "templates"):
        for old in (FOLDER / folder).glob("*.yaml"):
            if str(old.relative_to(FOLDER)) not in files:
                old.unlink()
    for name, text in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
