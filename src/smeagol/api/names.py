"""The names that manifests may hold, and how the root of a Canary is read.

Patterns are written for RE2 as well as for Python, since they stand in the CRDs' CEL rules too. None is anchored.
"""

from __future__ import annotations

import re

from smeagol.errors import SmeagolError
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ServiceRef

__all__ = [
    "DNS_LABEL",
    "DNS_NAME",
    "LABEL_KEY",
    "LABEL_VALUE",
    "METRIC_LABEL",
    "NAME_PATTERN",
    "QUANTITY",
    "ROOT",
    "SUBDOMAIN",
    "URI",
    "RootError",
    "parse_root",
]

DNS_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""RFC 1123 label: what Kubernetes takes as the name of a Service, a namespace, a container."""

DNS_NAME = rf"{DNS_LABEL}([.]{DNS_LABEL})*"
"""RFC 1123 subdomain; its length, 253 at most, is checked beside it."""

SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""The same without the limit on each label, as Kubernetes takes it for the names of most objects."""

LABEL_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
LABEL_KEY = rf"({SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
"""What Kubernetes takes as key and value of a label."""

METRIC_LABEL = "[a-zA-Z_][a-zA-Z0-9_]*"
"""What Prometheus takes as the name of a label."""

QUANTITY = "[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
"""The Kubernetes quantities that are not negative, but for exponents beyond 99, which nobody needs."""

URI = "[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:/?#@!$&'()*+;=%-]+"
"""RFC 3986 with an authority, without the comma: names are joined by commas in `x-sme-identity`."""

NAME_PATTERN = "[A-Za-z0-9._~:/?#@!$&'()*+;=%-]*[A-Za-z0-9_~:/?#@!$&'()*+;=%-]"
"""What a name that is put into certificates is made of, `*` for any part of it. None ends in a dot."""

ROOT = rf"{DNS_LABEL}([.]{DNS_LABEL}([.]svc([.]{DNS_NAME})?)?)?[.]?"
"""`web`, `web.shop`, `web.shop.svc`, `web.shop.svc.cluster.local`, each with or without a final dot."""

_ROOT = re.compile(ROOT)


class RootError(SmeagolError, ValueError):
    """The root of a Canary names no Service of this cluster."""

    code = "SMI-C003"


def parse_root(root: str, default_namespace: str, cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> ServiceRef:
    """The Service that `root` (`web`, `web.shop`, `web.shop.svc`, `web.shop.svc.cluster.local`) names.

    A name of one part is looked up in `default_namespace`. Raises RootError if the text has none of these forms or the
    domain is not the cluster's.
    """
    if _ROOT.fullmatch(root) is None:
        raise RootError(
            f"{root!r} is not the name of a Service",
            fix="Write it as clients do: web, web.shop, web.shop.svc or web.shop.svc.cluster.local",
        )
    name, _, rest = root.removesuffix(".").partition(".")
    namespace, _, rest = rest.partition(".")
    domain = rest.removeprefix("svc").removeprefix(".")
    if domain not in {"", cluster_domain}:
        raise RootError(
            f"{root!r} is outside of the cluster domain {cluster_domain!r}",
            fix=f"Name a Service of this cluster: {name}.{namespace}.svc.{cluster_domain}",
        )
    return ServiceRef(namespace or default_namespace, name)
