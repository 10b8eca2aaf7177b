"""Canary: requests to one Service are divided among several, by weight, at the client's proxy."""

from __future__ import annotations

from typing import Annotated, ClassVar

from smeagol.api.meta import Model, ObjectMeta, ProviderClassName, Status
from smeagol.api.names import DNS_LABEL, QUANTITY, ROOT, parse_root
from smeagol.api.rules import DraftField, Rule, doc
from smeagol.quantity import Weight
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ObjectRef, ServiceRef

__all__ = ["Backend", "Canary", "CanarySpec", "CanaryStatus", "RootProxy"]

_ZERO = "^[+]?[0.]+([^0-9.].*)?$"
"""Has no digit but 0 before its suffix. CEL's own `quantity()` is not available offline."""

_WEIGHT_RULES = (
    Rule(
        code="SMI-C005",
        expression='!string(self).startsWith("-")',
        what="the weight is negative",
        fix="Use 0 for a backend that shall get no traffic",
    ),
    Rule(
        code="SMI-C006",
        expression=f'string(self).startsWith("-") || string(self).matches("^{QUANTITY}$")',
        what="the weight is not a Kubernetes quantity",
        fix="Write a number, such as 1, or one with a suffix, such as 500m; only the ratio of the weights counts",
    ),
)


class Backend(Model, frozen=True, kw_only=True):
    """A Service that gets a share of the root's requests."""

    service: Annotated[
        str,
        doc(
            "Name of a Service in the namespace of the root. It may be created later.",
            min_length=1,
            max_length=253,
            rules=(
                Rule(
                    code="SMI-C004",
                    expression=f'self.matches("^{DNS_LABEL}$")',
                    what="this is not the bare name of a Service",
                    fix="Use at most 63 lower-case letters, digits and '-', no namespace or domain, as in web-v1",
                ),
            ),
        ),
    ]
    weight: Annotated[
        Weight,
        doc(
            "Share of the requests, beside the other weights: a Kubernetes quantity, so 1 is 1000m. Finer than 1m is "
            "rounded up. A backend of weight 0 gets no request at all.",
            max_text=32,
            rules=_WEIGHT_RULES,
        ),
    ]


class RootProxy(Model, frozen=True, kw_only=True):
    """A small proxy behind the root, for clients that have none."""

    replicas: Annotated[int, doc("How many of them there are.", ge=1, le=100)] = 2


class CanarySpec(Model, frozen=True, kw_only=True):
    """Which Service's requests are divided, and how."""

    rules: ClassVar = (
        Rule(
            code="SMI-C001",
            expression="has(self.service) || has(self.services)",
            what="'service' is missing",
            fix="Name the root: the Service that clients call, such as web or web.shop.svc.cluster.local",
            at=".service",
            reason="FieldValueRequired",
        ),
        Rule(
            code="SMI-C002",
            expression="has(self.backends) && size(self.backends) > 0 || has(self.services)",
            what="there is no backend",
            fix="List the Services that share the requests in 'backends', each with a weight",
            at=".backends",
            reason="FieldValueRequired",
        ),
        Rule(
            code="SMI-C007",
            expression=(
                "!has(self.service) || !has(self.backends) || "
                'self.backends.all(b, b.service != self.service && !self.service.startsWith(b.service + "."))'
            ),
            what="a backend is also the root service",
            what_expression=(
                '"backend \'" + self.backends.filter(b, b.service == self.service || '
                'self.service.startsWith(b.service + "."))[0].service + "\' is also the root service"'
            ),
            fix="Name the versioned Services behind the root instead, for example web-v1 and web-v2",
            at=".backends",
        ),
        Rule(
            code="SMI-C008",
            expression=(
                "!has(self.backends) || size(self.backends) == 0 || "
                f'!self.backends.all(b, string(b.weight).matches("{_ZERO}"))'
            ),
            what="all weights are zero, so no backend would get the requests",
            fix="Give one backend a weight above zero, or delete the Canary to end the split",
            at=".backends",
        ),
    )
    drafts: ClassVar = (DraftField(name="services", items="object"),)

    service: Annotated[
        str,
        doc(
            "The root: the Service that clients call, as they write it: web, web.shop, web.shop.svc or "
            "web.shop.svc.cluster.local.",
            min_length=1,
            max_length=253,
            required_by_rule=True,
            rules=(
                Rule(
                    code="SMI-C003",
                    expression=f'self.matches("^{ROOT}$")',
                    what="this is not the name of a Service",
                    fix="Write it as clients do: web, web.shop, web.shop.svc or web.shop.svc.cluster.local",
                ),
            ),
        ),
    ]
    backends: Annotated[
        tuple[Backend, ...],
        doc(
            "The Services that share the requests, each once.",
            max_length=64,
            required_by_rule=True,
            list_type="map",
            list_keys=("service",),
        ),
    ]
    root_proxy: Annotated[
        RootProxy | None,
        doc(
            "If it is there, even empty, the provider runs a small proxy behind the root, which divides what clients "
            "without a proxy send there. The root must be a Service with a cluster address and without a selector."
        ),
    ] = None
    provider_class_name: ProviderClassName = ""


class CanaryStatus(Status, frozen=True, kw_only=True):
    """What has become of the Canary; written by providers."""

    shares: Annotated[
        str, doc("The shares that are in force, for people: `web-v1 75%, web-v2 25%`.", max_length=8192)
    ] = ""


class Canary(Model, frozen=True, kw_only=True):
    """Requests that meshed clients send to one Service, the root, are divided among the backends in the ratio of their
    weights."""

    metadata: ObjectMeta
    spec: CanarySpec
    status: CanaryStatus = CanaryStatus()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("Canary", self.metadata.namespace, self.metadata.name)

    def root(self, cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> ServiceRef:
        """The Service whose requests are divided. Raises RootError if it is outside of the cluster domain."""
        return parse_root(self.spec.service, self.metadata.namespace, cluster_domain)
