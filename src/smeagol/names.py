"""Names in certificates: how they are written, and which namespace may claim which (spec: MutualTLS).

A client certificate carries the names a user asked for, and servers hand them to the application, which trusts them.
So a name must have one spelling, must not read as two in the comma-separated `x-sme-identity`, and must not be taken
from the one it belongs to. All of it is decided here, by pure functions: the API's validation, the intent and the
PKI ask the same ones.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from smeagol.errors import SmeagolError
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ObjectRef, SubjectName

__all__ = [
    "Allowed",
    "Claim",
    "Conflicted",
    "InvalidNameError",
    "NameKind",
    "NamePolicy",
    "NameRule",
    "Refused",
    "SpiffeId",
    "kind_of",
    "overlap",
    "owner_of",
    "parse_name",
    "parse_trust_domain",
    "settle",
    "verdict",
]

MAX_DNS_LENGTH = 253
"""Octets of a host name in text, without a trailing dot (RFC 1035, 2.3.4)."""

MAX_URI_LENGTH = 2048
"""Octets; the longest that every SPIFFE implementation must take (SPIFFE-ID, 2.3). Held for all URIs alike."""

MAX_TRUST_DOMAIN_LENGTH = 255
"""Octets (SPIFFE-ID, 2.1)."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, 2.1, in lower case
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")  # RFC 3986, 3.1
# RFC 3986, 2, without the comma: it would read as two names in `x-sme-identity`.
_URI_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+;=-]|%[0-9A-Fa-f]{2})*")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]@]+)(?::(?P<port>[0-9]{1,5}))?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")  # SPIFFE-ID, 2.1
_SPIFFE_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")  # SPIFFE-ID, 2.2
_SPIFFE = "spiffe://"


class InvalidNameError(SmeagolError):
    """Text that can't be put into a certificate as a name."""

    code: ClassVar[str] = "SMI-N001"


class NameKind(enum.Enum):
    """Which of the three GeneralName forms a name takes in a certificate (RFC 5280, 4.2.1.6)."""

    DNS = "DNS name"
    IP = "IP address"
    URI = "URI"


def kind_of(name: str) -> NameKind:
    """`://` makes a URI, a valid address is an IP address, all the rest is a DNS name."""
    if "://" in name:
        return NameKind.URI
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return NameKind.DNS
    return NameKind.IP


def parse_name(text: str, *, where: str = "") -> SubjectName:
    """The one spelling of a name: lower-case host, shortest address, no trailing dot. Idempotent.

    Raises InvalidNameError, placed at `where`, for what has no such spelling.
    """
    if not text.isascii():  # before any lower(): the Kelvin sign becomes an ordinary k
        _invalid(text, "has characters outside ASCII", where, "write an international host name in its xn-- form")
    match kind_of(text):
        case NameKind.URI:
            return SubjectName(_parse_uri(text, where))
        case NameKind.IP:
            return SubjectName(_parse_address(text, where))
        case NameKind.DNS:
            return SubjectName(_parse_dns(text, where))


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A SPIFFE id, `spiffe://<trust domain><path>` (SPIFFE-ID standard, 2). `path` is empty or starts with `/`."""

    trust_domain: str
    path: str

    @classmethod
    def workload(cls, trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
        """The identity every Pod of the mesh carries (spec: MutualTLS): its service account's."""
        return cls.parse(f"{_SPIFFE}{trust_domain}/ns/{namespace}/sa/{service_account}")

    @classmethod
    def control_plane(cls, trust_domain: str) -> SpiffeId:
        """The identity by which replicas of the control plane know each other: nobody else's, whatever rules say."""
        return cls.parse(f"{_SPIFFE}{trust_domain}/smeagol/control-plane")

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> SpiffeId:
        """Raises InvalidNameError. Scheme and trust domain are case-insensitive, the path is not (SPIFFE-ID, 2)."""
        if text[: len(_SPIFFE)].lower() != _SPIFFE:
            _invalid(text, "is not a SPIFFE id", where, "write spiffe://<trust domain>/<path>")
        if len(text) > MAX_URI_LENGTH:
            _invalid(text, f"is longer than {MAX_URI_LENGTH} characters", where, "shorten it")
        trust_domain, slash, rest = text[len(_SPIFFE) :].partition("/")
        trust_domain = parse_trust_domain(trust_domain, where=where)
        for segment in rest.split("/") if slash else ():
            if not _SPIFFE_SEGMENT.fullmatch(segment) or segment in (".", ".."):
                _invalid(
                    text,
                    f"has the path segment '{_shown(segment)}', which a SPIFFE id can't have",
                    where,
                    "use letters, digits, dots, dashes and underscores between single slashes, without one at the end",
                )
        return cls(trust_domain, slash + rest)

    @property
    def owner(self) -> tuple[str, str] | None:
        """(namespace, service account), or None if this isn't the id of a Kubernetes workload."""
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", service_account]:
                return namespace, service_account
            case _:
                return None

    def __str__(self) -> str:
        return f"{_SPIFFE}{self.trust_domain}{self.path}"


def parse_trust_domain(text: str, *, where: str = "") -> str:
    """A trust domain's name in lower case (SPIFFE-ID, 2.1). Raises InvalidNameError."""
    name = text.lower()
    if not text.isascii() or not _TRUST_DOMAIN.fullmatch(name) or len(name) > MAX_TRUST_DOMAIN_LENGTH:
        _invalid(
            text,
            "is not the name of a trust domain",
            where,
            f"use up to {MAX_TRUST_DOMAIN_LENGTH} letters, digits, dots, dashes and underscores, and no port",
        )
    return name


# Who may claim which name ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """One rule of an administrator: names that fit `pattern` are granted to, or withheld from, `namespaces`.

    `*` in a pattern stands for any run of characters, dots included; letter case does not count. No namespaces: all.
    What is in doubt is withheld rather than granted: a wildcard name is withheld if any name that it covers is, and
    granted only if all are; a URI is withheld with its host, by a pattern without `://`; and the `*` of a grant ends
    where a part of a URI does, so that `*.example.com` grants neither https://elsewhere/x.example.com nor the SPIFFE id
    of a service account with such a name.
    """

    pattern: str
    grant: bool
    namespaces: tuple[str, ...] = ()
    provider_class: str = ""

    def applies(self, name: SubjectName, namespace: str) -> bool:
        if self.namespaces and namespace not in self.namespaces:
            return False
        pattern, text = self.pattern.lower(), name.lower()
        if _is_wildcard(name) and not self.grant:
            return _meet(pattern, text)
        # A wildcard's own `*` is only fitted by a `*` of the pattern, so what fits does so with all it covers.
        fits = re.compile(_expression(pattern, "[^/?#]" if self.grant else ".")).fullmatch
        if fits(text) is not None:
            return True
        whole_host = not self.grant and "://" in text and "://" not in pattern
        return whole_host and fits(_host_of(text)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePolicy:
    """What a mesh holds about names. `rules` are those of each ProviderClass: the first that applies decides, for all
    names but the control plane's own; where classes differ, the name is withheld.

    They hold whichever class an object picks, for that is its user's choice. Reserving names for a namespace takes two
    rules: grant them to it, then withhold them from all.
    """

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = DEFAULT_CLUSTER_DOMAIN
    rules: tuple[tuple[NameRule, ...], ...] = ()

    def rule_for(self, name: SubjectName, namespace: str) -> NameRule | None:
        """The rule that decides, if one does."""
        deciding = (next((rule for rule in each if rule.applies(name, namespace)), None) for each in self.rules)
        return min((rule for rule in deciding if rule is not None), key=lambda rule: rule.grant, default=None)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The namespace may carry the name. `granted`: by a rule, so it may whoever else claims the name."""

    granted: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The name is not the namespace's to claim. `reason` is a sentence for the user, with the cure."""

    reason: str


def verdict(
    name: str,
    namespace: str,
    policy: NamePolicy,
    *,
    namespaces: Container[str] = (),
    service_accounts: Collection[str] = (),
) -> Allowed | Refused:
    """May a MutualTLS in `namespace` claim `name`, as far as that does not depend on other claims (spec: MutualTLS).

    `namespaces`: those that exist, which tells `web.pay`, Service web of namespace pay, from an unrelated name.
    `service_accounts`: those of the Pods that would carry the name; a SPIFFE id of the mesh is one's own only if it
    is theirs. Without them it is refused, which takes nothing away: each Pod carries its own id without asking.
    """
    try:
        parsed = parse_name(name)
    except InvalidNameError as e:
        return Refused(str(e))
    if parsed == str(SpiffeId.control_plane(policy.trust_domain)):
        return Refused(f"'{parsed}' is the identity of the control plane, which nobody else can have. Leave it out.")
    rule = policy.rule_for(parsed, namespace)
    if rule is not None and rule.grant:
        return Allowed(granted=True)
    if rule is not None:
        return Refused(
            f"'{parsed}' is withheld from namespace '{namespace}' by ProviderClass '{rule.provider_class}', which does "
            f"so with '{rule.pattern}'. Choose another name, or have it granted in spec.parameters of that class."
        )
    if parsed.startswith(_SPIFFE):
        return _spiffe_verdict(SpiffeId.parse(parsed), namespace, policy, service_accounts)
    match kind_of(parsed):
        case NameKind.IP:
            return Allowed()
        case NameKind.URI:
            return _host_verdict(parsed, _host_of(parsed), namespace, policy, namespaces)
        case NameKind.DNS:
            return _host_verdict(parsed, parsed, namespace, policy, namespaces)


@dataclass(frozen=True, slots=True)
class Claim:
    """A MutualTLS asks for a name. `created`: its creationTimestamp (RFC 3339, UTC), which sorts as text. `granted`: by
    a rule of a ProviderClass, which beats age."""

    name: SubjectName
    by: ObjectRef
    created: str
    granted: bool = False

    @property
    def rank(self) -> tuple[bool, str, str, str, str]:
        """Granted ones first, then the oldest, then namespace and name of the object (spec: All kinds)."""
        return not self.granted, self.created, self.by.namespace, self.by.name, self.name


@dataclass(frozen=True, slots=True)
class Conflicted:
    """The name belongs to another namespace, by the claim `owner`, which came first or is granted."""

    name: SubjectName
    owner: Claim

    @property
    def reason(self) -> str:
        held = "it" if self.owner.name == self.name else f"'{self.owner.name}'"
        belongs = f"'{self.name}' belongs to namespace '{self.owner.by.namespace}'"
        if self.owner.granted:
            return f"{belongs}: {self.owner.by} has {held} by a grant of a ProviderClass. Choose another name."
        return f"{belongs}: {self.owner.by} claimed {held} first. Choose another name, or have that one removed."


def settle(claims: Iterable[Claim]) -> dict[Claim, Allowed | Conflicted]:
    """Who gets the names that verdict() leaves free: the namespace that claimed first, whatever the order of `claims`.

    Names that overlap count as one, so nobody gets `pay.example.com` under another's `*.example.com` or the reverse.
    Those to whom a name is granted have it together, and before all others. A claim that lost takes nothing away from
    later ones. Pass only claims that verdict() allowed.
    """
    outcome: dict[Claim, Allowed | Conflicted] = {}
    holders: dict[str, dict[str, Claim]] = {}  # name -> namespace -> its first claim
    beneath: dict[str, dict[str, Claim]] = {}  # parent domain -> namespace -> its first claim right below it
    for claim in sorted(set(claims), key=lambda c: c.rank):
        name, namespace = claim.name, claim.by.namespace
        rivals = [*holders.get(name, {}).values()]
        parent = ""
        if kind_of(name) is NameKind.DNS:
            parent = _parent(name)
            overlapping = beneath.get(parent, {}) if _is_wildcard(name) else holders.get(f"*.{parent}", {})
            rivals += overlapping.values()
        owner = min((r for r in rivals if r.by.namespace != namespace), key=lambda r: r.rank, default=None)
        if owner is not None and not claim.granted:
            outcome[claim] = Conflicted(name, owner)
            continue
        outcome[claim] = Allowed(claim.granted)
        holders.setdefault(name, {}).setdefault(namespace, claim)
        if parent:
            beneath.setdefault(parent, {}).setdefault(namespace, claim)
    return outcome


def owner_of(name: SubjectName, claims: Iterable[Claim]) -> Claim | None:
    """The claim by which `name` is owned, or None if it is free. The oldest, where a wildcard meets several."""
    held = (c for c, fate in settle(claims).items() if isinstance(fate, Allowed) and overlap(c.name, name))
    return min(held, key=lambda c: c.rank, default=None)


def overlap(a: SubjectName, b: SubjectName) -> bool:
    """Do the two names stand for a common one? A wildcard covers exactly one label (RFC 6125, 6.4.3)."""
    if a == b:
        return True
    if kind_of(a) is not NameKind.DNS or kind_of(b) is not NameKind.DNS:
        return False
    return (_is_wildcard(a) or _is_wildcard(b)) and _parent(a) == _parent(b) != ""


# Private parts --------------------------------------------------------------------------------------------------------


def _spiffe_verdict(
    spiffe: SpiffeId, namespace: str, policy: NamePolicy, service_accounts: Collection[str]
) -> Allowed | Refused:
    if spiffe.trust_domain != policy.trust_domain.lower():
        return Allowed()
    owner = spiffe.owner
    if owner is not None and owner[0] == namespace and set(service_accounts) == {owner[1]}:
        return Allowed()
    whose = f"service account '{owner[1]}' of namespace '{owner[0]}'" if owner else "the mesh itself"
    return Refused(
        f"'{spiffe}' is the identity of {whose}; it can't be claimed for other Pods. "
        "Leave it out: every Pod carries the SPIFFE id of its own service account."
    )


def _host_verdict(
    name: SubjectName, host: str, namespace: str, policy: NamePolicy, namespaces: Container[str]
) -> Allowed | Refused:
    """Judge a host by how the cluster's DNS would read it: what resolves to another's Service is not one's own."""
    domain = policy.cluster_domain.lower().rstrip(".")
    if overlap(SubjectName(host), SubjectName(domain)):
        return Refused(f"'{name}' covers the cluster domain '{domain}'. Choose a name outside of it.")
    if host.endswith(f".{domain}"):
        labels = host[: -len(domain) - 1].split(".")
        # Services and Pods live at <…>.<namespace>.svc and <…>.<namespace>.pod (DNS-Based Service Discovery, 2).
        owner = labels[-2] if len(labels) >= 3 and labels[-1] in ("svc", "pod") else ""
        if owner == namespace:
            return Allowed()
        whose = f"namespace '{owner}'" if owner else "no single namespace"
        return Refused(
            f"'{name}' is under the cluster domain '{domain}' and belongs to {whose}. "
            f"Namespace '{namespace}' can only claim names that end in '.{namespace}.svc.{domain}' there."
        )
    # The search path of every Pod ends in `svc.<domain> <domain>`, so these resolve as if under the cluster domain.
    labels = host.split(".")
    match labels:
        case [_, *_, owner, "svc"]:
            pass
        case [_, *_, owner] if owner in namespaces or owner == "svc":
            pass
        case _:
            return Allowed()
    if owner == namespace:
        return Allowed()
    return Refused(
        f"'{name}' is the short name of a Service in namespace '{owner}', so namespace '{namespace}' can't claim it. "
        f"Choose a name that doesn't end in '.{owner}'."
    )


def _host_of(uri: str) -> str:
    authority = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    found = _AUTHORITY.fullmatch(authority)
    return found["host"] if found else authority


def _is_wildcard(name: str) -> bool:
    return name.startswith("*.")


def _parent(name: str) -> str:
    return name.partition(".")[2]


def _expression(pattern: str, any_character: str) -> str:
    """A regular expression for texts that fit, which never tries twice: each part is taken where it is found first.

    That loses nothing where `*` may be any run of characters, nor where it ends before some of them: the text has the
    next of these in one place only.
    """
    first, *rest = map(re.escape, pattern.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>{any_character}*?{part})" for part in middle) + f"{any_character}*" + last


def _meet(a: str, b: str) -> bool:
    """Is there a text that fits both patterns? `*` is any run of characters in either."""

    def skip_stars(places: set[int]) -> set[int]:
        for j in range(len(b)):
            if j in places and b[j] == "*":
                places.add(j + 1)
        return places

    places = skip_stars({0})  # how much of `b` can be used up by a text that uses up `a` so far
    for char in a:
        if char == "*":
            places = set(range(min(places, default=len(b) + 1), len(b) + 1))
        else:
            stay = {j for j in places if b[j : j + 1] == "*"}
            places = skip_stars(stay | {j + 1 for j in places if b[j : j + 1] == char})
    return len(b) in places


def _parse_dns(text: str, where: str) -> str:
    name = text.lower().removesuffix(".")
    if not name:
        _invalid(text, "is empty", where, "write a DNS name, an IP address or a URI")
    if len(name) > MAX_DNS_LENGTH:
        _invalid(text, f"is longer than {MAX_DNS_LENGTH} characters", where, "shorten it")
    labels = name.split(".")
    if len(labels) == 4 and all(label.isdigit() for label in labels):
        _invalid(text, "looks like an IP address but is none", where, "write four numbers from 0 to 255")
    if labels[0] == "*":
        if len(labels) == 1:
            _invalid(text, "stands for every name", where, "write a domain after it, as in *.example.com")
        labels = labels[1:]
    for label in labels:
        if "*" in label:
            _invalid(text, "has a '*' inside", where, "a wildcard is the whole first label, as in *.example.com")
        if not _LABEL.fullmatch(label):
            _invalid(
                text,
                f"has the label '{_shown(label)}', which no DNS name has",
                where,
                "use 1 to 63 letters, digits and dashes between dots, with no dash at an end; a URI needs '://'",
            )
    return name


def _parse_address(text: str, where: str) -> str:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            _invalid(text, "has a zone, which means nothing outside one host", where, "leave out the part from '%' on")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)


def _parse_uri(text: str, where: str) -> str:
    if len(text) > MAX_URI_LENGTH:
        _invalid(text, f"is longer than {MAX_URI_LENGTH} characters", where, "shorten it")
    if "," in text:
        _invalid(text, "has a comma, which would read as two names in x-sme-identity", where, "leave it out")
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if not _SCHEME.fullmatch(scheme):
        _invalid(text, "has no legal scheme before '://'", where, "begin it as in https:// or spiffe://")
    if not _URI_TEXT.fullmatch(rest):
        _invalid(
            text,
            "has a character that a URI can't have",
            where,
            "leave out spaces, quotes and control characters, or write them as %20 and so on (RFC 3986)",
        )
    if scheme == "spiffe":
        return str(SpiffeId.parse(text, where=where))
    end = next((i for i, c in enumerate(rest) if c in "/?#"), len(rest))
    found = _AUTHORITY.fullmatch(rest[:end].lower())
    if found is None:
        _invalid(text, "names no host after '://'", where, "write a host name or address, and no user name")
    host = found["host"]
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            _invalid(text, f"has the host '{_shown(host)}', which is no IPv6 address", where, "correct it")
    elif kind_of(host) is NameKind.DNS:
        if "*" in host:
            _invalid(text, "has a wildcard for its host", where, "name one host")
        host = _parse_dns(host, where)
    port = f":{found['port']}" if found["port"] else ""
    return f"{scheme}://{host}{port}{rest[end:]}"


def _shown(text: str) -> str:
    """User input as it may stand in a message: printable, and not a page of it."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= 80 else f"{printable[:77]}…"


def _invalid(text: str, what: str, where: str, fix: str) -> NoReturn:
    raise InvalidNameError(f"the name '{_shown(text)}' {what}", where=where, fix=fix)
