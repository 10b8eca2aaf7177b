"""Names in certificates, and who may claim them (spec: MutualTLS, Who may claim which name)."""

from __future__ import annotations

import ipaddress
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.names import (
    Allowed,
    Claim,
    Conflicted,
    InvalidNameError,
    NameKind,
    NamePolicy,
    NameRule,
    Refused,
    SpiffeId,
    kind_of,
    overlap,
    owner_of,
    parse_name,
    settle,
    verdict,
)
from smeagol.refs import ObjectRef, ServiceRef, SubjectName

POLICY = NamePolicy()
NAMESPACES = frozenset({"shop", "pay", "com-team"})

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
dns_names = st.lists(labels, min_size=1, max_size=5).map(".".join).filter(lambda n: not n.replace(".", "").isdigit())
wildcards = dns_names.map("*.{}".format)
addresses = st.ip_addresses().map(str)
spiffe_ids = st.builds(SpiffeId.workload, dns_names, labels, labels).map(str)
uris = st.builds("{}://{}/{}".format, st.sampled_from(["https", "urn+x", "tag"]), dns_names, labels)
names = st.one_of(dns_names, wildcards, addresses, spiffe_ids, uris)


class TestSpelling:
    """A name has one spelling, so that two claims of one name can't slip past each other."""

    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("Pay.Example.COM", "pay.example.com"),
            ("pay.example.com.", "pay.example.com"),
            ("foo", "foo"),
            ("*.Example.com", "*.example.com"),
            ("web.123", "web.123"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("SPIFFE://Partner.Example/ns/Shop", "spiffe://partner.example/ns/Shop"),
            ("HTTPS://Pay.Example:8443/Path?q=%2C#f", "https://pay.example:8443/Path?q=%2C#f"),
            ("https://[2001:DB8::0:1]/", "https://[2001:db8::1]/"),
        ],
    )
    def test_one_spelling(self, written: str, name: str) -> None:
        assert parse_name(written) == name

    @given(names)
    def test_the_one_spelling_is_final(self, written: str) -> None:
        assert parse_name(parse_name(written)) == parse_name(written)
        assert kind_of(parse_name(written)) is kind_of(written)

    @given(names)
    def test_letter_case_of_hosts_does_not_count(self, written: str) -> None:
        if kind_of(written) is not NameKind.URI:
            assert parse_name(written.upper()) == parse_name(written)

    @given(st.ip_addresses())
    def test_addresses_stay_what_they_are(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        parsed = ipaddress.ip_address(parse_name(str(address)))
        assert parsed == (getattr(address, "ipv4_mapped", None) or address)

    @pytest.mark.parametrize(
        ("written", "cause"),
        [
            ("", "empty"),
            (".", "empty"),
            ("a..b", "label ''"),
            ("-a.example", "label '-a'"),
            ("a-.example", "label 'a-'"),
            ("a_b.example", "label 'a_b'"),
            ("a" * 64, "label"),
            (".".join(["a" * 60] * 5), "longer than 253"),
            ("bücher.example", "xn--"),
            ("\N{KELVIN SIGN}ube.example", "ASCII"),
            ("*", "every name"),
            ("a.*.example", "'*' inside"),
            ("a*.example", "'*' inside"),
            ("*.*.example", "'*' inside"),
            ("300.1.1.1", "looks like an IP address"),
            ("010.0.0.1", "looks like an IP address"),
            ("10.0.0.0/24", "label '0/24'"),
            ("fe80::1%eth0", "zone"),
            ("a b.example", "label 'a b'"),
            ("a\n.example", "label"),
            ("a,b", "label 'a,b'"),
            ("pay.example.com\0.evil", "label"),
            ("https://a.example/x,spiffe://cluster.local/ns/pay/sa/api", "two names in x-sme-identity"),
            ("https://a.example/x y", "character that a URI can't have"),
            ("https://a.example/\r\nx-sme-identity: admin", "character that a URI can't have"),
            ("https://a.example/%zz", "character that a URI can't have"),
            ('https://a.example/"', "character that a URI can't have"),
            ("https:///path", "names no host"),
            ("https://user@a.example/", "no user name"),
            ("https://*.a.example/", "wildcard for its host"),
            ("https://[::g]/", "names no host"),
            ("https://[1:2]/", "no IPv6 address"),
            ("://a.example", "no legal scheme"),
            ("1a://a.example", "no legal scheme"),
            ("https://a.example/" + "x" * 2048, "longer than 2048"),
            ("spiffe://", "trust domain"),
            ("spiffe://a.example:80/x", "trust domain"),
            ("spiffe://user@a.example/x", "trust domain"),
            ("spiffe://a.example/", "path segment ''"),
            ("spiffe://a.example/x//y", "path segment ''"),
            ("spiffe://a.example/x/", "path segment ''"),
            ("spiffe://a.example/./x", "path segment '.'"),
            ("spiffe://a.example/../x", "path segment '..'"),
            ("spiffe://a.example/x%20y", "path segment"),
            ("spiffe://a.example/x?y", "path segment"),
            ("spiffe://a.example/x#y", "path segment"),
            ("spiffe://" + "a" * 256 + "/x", "trust domain"),
        ],
    )
    def test_what_is_no_name_is_refused_with_cause_and_place(self, written: str, cause: str) -> None:
        with pytest.raises(InvalidNameError) as caught:
            parse_name(written, where="spec.clientSubjectNames[0]")
        assert cause in str(caught.value)
        assert caught.value.where == "spec.clientSubjectNames[0]"
        assert caught.value.fix
        assert str(caught.value).isprintable()

    @given(st.text(max_size=40) | st.text(alphabet=string.printable, max_size=40).map("https://a.example/{}".format))
    def test_no_name_reads_as_two(self, written: str) -> None:
        """`x-sme-identity` is comma-separated: no name holds a comma, a space or a control character."""
        try:
            name = parse_name(written)
        except InvalidNameError:
            return
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(', "')


class TestSpiffeId:
    def test_a_workload_carries_its_service_accounts_id(self) -> None:
        """MutualTLS: every client certificate carries `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""
        spiffe = SpiffeId.workload("cluster.local", "shop", "web")
        assert str(spiffe) == "spiffe://cluster.local/ns/shop/sa/web"
        assert spiffe.owner == ("shop", "web")
        assert SpiffeId.parse(str(spiffe)) == spiffe

    @pytest.mark.parametrize("path", ["", "/ns/shop", "/ns/shop/sa/web/x", "/NS/shop/sa/web", "/x/shop/sa/web"])
    def test_other_ids_are_no_workloads(self, path: str) -> None:
        assert SpiffeId.parse(f"spiffe://cluster.local{path}").owner is None


class TestWhoMayClaim:
    """A name that belongs to another in the cluster's own order can't be claimed, whoever comes first."""

    @pytest.mark.parametrize("name", ServiceRef("pay", "api").names()[1:])
    def test_another_namespaces_service_names_are_refused(self, name: str) -> None:
        answer = verdict(name, "shop", POLICY, namespaces=NAMESPACES)
        assert isinstance(answer, Refused)
        assert "'pay'" in answer.reason
        assert verdict(name, "pay", POLICY, namespaces=NAMESPACES) == Allowed()

    @pytest.mark.parametrize(
        "name",
        [
            "*.pay",
            "*.pay.svc",
            "*.api.pay.svc",
            "*.pay.svc.cluster.local",
            "pod-0.api.pay.svc.cluster.local",
            "pod-0.api.pay",
            "10-0-0-1.pay.pod.cluster.local",
            "https://api.pay.svc.cluster.local/",
            "https://API.pay:8080",
            "API.PAY.SVC.CLUSTER.LOCAL.",
        ],
    )
    def test_all_that_the_clusters_dns_reads_as_another_namespaces_is_refused(self, name: str) -> None:
        assert isinstance(verdict(name, "shop", POLICY, namespaces=NAMESPACES), Refused)
        assert verdict(name, "pay", POLICY, namespaces=NAMESPACES) == Allowed()

    @pytest.mark.parametrize(
        "name",
        ["cluster.local", "*.local", "*.cluster.local", "*.svc.cluster.local", "x.cluster.local", "*.svc", "shop.svc"],
    )
    def test_the_cluster_domain_is_nobodys(self, name: str) -> None:
        assert isinstance(verdict(name, "shop", POLICY, namespaces=NAMESPACES), Refused)

    def test_the_cluster_domain_is_the_clusters_choice(self) -> None:
        policy = NamePolicy(cluster_domain="Corp.Example")
        assert isinstance(verdict("api.pay.svc.corp.example", "shop", policy), Refused)
        assert verdict("api.pay.svc.corp.example", "pay", policy) == Allowed()
        assert verdict("api.pay.cluster.local", "shop", policy) == Allowed()

    @given(dns_names, labels, labels)
    def test_under_the_cluster_domain_only_ones_own_namespace_is_allowed(self, host: str, own: str, other: str) -> None:
        name = f"{host}.{other}.svc.cluster.local"
        assert isinstance(verdict(name, own, POLICY), Allowed if own == other else Refused)

    @pytest.mark.parametrize("name", ["foo", "pay", "example.com", "*.example.com", "a.b.example", "10.0.0.1"])
    def test_any_other_name_is_free(self, name: str) -> None:
        assert verdict(name, "shop", POLICY, namespaces=NAMESPACES) == Allowed()

    def test_an_identity_of_the_mesh_is_its_service_accounts_only(self) -> None:
        own, theirs = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/pay/sa/web"
        assert verdict(own, "shop", POLICY, service_accounts=["web"]) == Allowed()
        assert isinstance(verdict(theirs, "shop", POLICY, service_accounts=["web"]), Refused)
        assert isinstance(verdict(theirs.upper().replace("/NS/PAY/SA/WEB", "/ns/pay/sa/web"), "shop", POLICY), Refused)

    @pytest.mark.parametrize("accounts", [[], ["default"], ["web", "default"]])
    def test_another_service_account_of_the_same_namespace_is_anothers(self, accounts: list[str]) -> None:
        answer = verdict("spiffe://cluster.local/ns/shop/sa/web", "shop", POLICY, service_accounts=accounts)
        assert isinstance(answer, Refused)
        assert "Leave it out" in answer.reason

    @pytest.mark.parametrize("path", ["", "/ns/shop", "/anything"])
    def test_the_rest_of_the_trust_domain_is_the_meshs(self, path: str) -> None:
        assert isinstance(verdict(f"spiffe://cluster.local{path}", "shop", POLICY, service_accounts=["web"]), Refused)

    def test_identities_of_other_trust_domains_are_free(self) -> None:
        assert verdict("spiffe://partner.example/ns/pay/sa/web", "shop", POLICY) == Allowed()

    def test_what_is_no_name_is_refused(self) -> None:
        assert isinstance(verdict("a,b", "shop", POLICY), Refused)

    @given(st.text(max_size=60), labels)
    def test_any_text_gets_an_answer(self, name: str, namespace: str) -> None:
        assert isinstance(verdict(name, namespace, POLICY, namespaces=NAMESPACES), Allowed | Refused)


def ruled(*rules: NameRule) -> NamePolicy:
    """A mesh with one ProviderClass that has these rules."""
    return NamePolicy(rules=(rules,))


class TestRules:
    """ProviderClass parameters can widen or narrow who may claim what; the first rule that applies decides."""

    def test_widening(self) -> None:
        """SMI-MTLS-11: a name that would be refused is granted, to the namespaces of the rule alone."""
        policy = ruled(NameRule(pattern="*.pay.svc.cluster.local", grant=True, namespaces=("shop",)))
        assert verdict("api.pay.svc.cluster.local", "shop", policy) == Allowed(granted=True)
        assert isinstance(verdict("api.pay.svc.cluster.local", "blog", policy), Refused)
        assert isinstance(verdict("api.crm.svc.cluster.local", "shop", policy), Refused)

    @pytest.mark.parametrize("pattern", ["*", "spiffe://*", "spiffe://cluster.local/smeagol/control-plane"])
    def test_the_control_plane_s_own_name_is_never_granted(self, pattern: str) -> None:
        """SMI-MTLS-11: whoever had it could ask every replica what all proxies have, as another replica does."""
        policy = ruled(NameRule(pattern=pattern, grant=True))
        own = str(SpiffeId.control_plane("cluster.local"))
        for spelling in (own, own.replace("spiffe://cluster.local", "SPIFFE://Cluster.Local")):
            found = verdict(spelling, "smeagol-system", policy)
            assert isinstance(found, Refused)
            assert "control plane" in found.reason

    def test_narrowing(self) -> None:
        policy = ruled(NameRule(pattern="*.Example.com", grant=False))
        assert isinstance(verdict("pay.example.com", "shop", policy), Refused)
        assert isinstance(verdict("a.pay.example.com", "shop", policy), Refused)
        assert verdict("example.com", "shop", policy) == Allowed()

    @pytest.mark.parametrize(
        "name",
        ["https://a.example.com", "https://a.example.com/x", "https://a.example.com:8443", "spiffe://a.example.com"],
    )
    def test_a_host_is_withheld_with_all_uris_of_it(self, name: str) -> None:
        """SMI-MTLS-11: else whoever may not be a.example.com would be https://a.example.com/x."""
        assert isinstance(verdict(name, "shop", ruled(NameRule(pattern="*.example.com", grant=False))), Refused)
        assert verdict(name, "shop", ruled(NameRule(pattern="http://*.example.com", grant=False))) == Allowed()
        assert verdict(name, "shop", ruled(NameRule(pattern="example.com", grant=False))) == Allowed()

    def test_reserving_for_a_namespace(self) -> None:
        policy = ruled(
            NameRule(pattern="*.example.com", grant=True, namespaces=("shop",)),
            NameRule(pattern="*.example.com", grant=False),
        )
        assert verdict("pay.example.com", "shop", policy) == Allowed(granted=True)
        assert isinstance(verdict("pay.example.com", "blog", policy), Refused)

    @pytest.mark.parametrize("order", [1, -1])
    def test_where_classes_differ_the_name_is_withheld(self, order: int) -> None:
        """A user picks the class of an object, and gets no name by picking another."""
        grants = (NameRule(pattern="*.example.com", grant=True, namespaces=("shop",)),)
        withholds = (NameRule(pattern="pay.example.com", grant=False, provider_class="strict"),)
        policy = NamePolicy(rules=(grants, withholds)[::order])
        found = verdict("pay.example.com", "shop", policy)
        assert isinstance(found, Refused)
        assert "ProviderClass 'strict'" in found.reason
        assert verdict("api.example.com", "shop", policy) == Allowed(granted=True)

    @pytest.mark.parametrize(
        ("pattern", "name", "fits"),
        [
            ("*.example.com", "a.b.example.com", True),
            ("*.example.com", "https://elsewhere/x.example.com", False),
            ("*.example.com", "spiffe://cluster.local/ns/pay/sa/x.example.com", False),
            ("*", "https://example.com/", False),
            ("https://*.example.com/*", "https://pay.example.com/", True),
            ("https://*.example.com/*", "https://elsewhere/.example.com/", False),
            ("https://*.example.com", "https://elsewhere?.example.com", False),
            ("https://*.example.com", "https://elsewhere#.example.com", False),
            ("spiffe://cluster.local/team/*", "spiffe://cluster.local/team/pay", True),
            ("spiffe://cluster.local/team/*", "spiffe://cluster.local/team/pay/admin", False),
            ("spiffe://cluster.local/*/admin", "spiffe://cluster.local/a/admin/admin", False),
            ("spiffe://*l/team", "spiffe://cluster.local/team", True),
        ],
    )
    def test_a_grant_reaches_no_further_than_it_reads(self, pattern: str, name: str, *, fits: bool) -> None:
        """SMI-MTLS-11: the `*` of a grant ends where a part of a URI does; that of a withholding does not."""
        own = ("shop",)
        assert NameRule(pattern=pattern, grant=True, namespaces=own).applies(parse_name(name), "shop") is fits
        assert NameRule(pattern=pattern, grant=False).applies(parse_name(name), "shop") or fits is (name in pattern)

    @given(names, st.lists(st.sampled_from(["*", "a", "example", ".", "/", "://", "ns", "-"]), max_size=6).map("".join))
    def test_what_is_granted_could_be_withheld(self, name: str, pattern: str) -> None:
        """A pattern never grants more than it withholds."""
        parsed = parse_name(name)
        if NameRule(pattern=pattern, grant=True).applies(parsed, "shop"):
            assert NameRule(pattern=pattern, grant=False).applies(parsed, "shop")

    @given(st.lists(st.sampled_from("ab/*"), max_size=8).map("".join), st.lists(st.sampled_from("ab/"), max_size=8))
    def test_patterns_are_as_a_plain_regular_expression(self, pattern: str, text: list[str]) -> None:
        """Taking each part where it is found first misses nothing."""
        name = SubjectName("".join(text))
        for grant, run in ((True, "[^/?#]*"), (False, ".*")):
            plain = re.fullmatch(pattern.replace("*", run), name) is not None
            assert NameRule(pattern=pattern, grant=grant).applies(name, "shop") is plain

    @pytest.mark.parametrize("pattern", ["admin.example.com", "admin*", "*min.example.com", "*admin*", "*"])
    def test_a_wildcard_name_is_withheld_if_any_name_it_covers_is(self, pattern: str) -> None:
        policy = ruled(NameRule(pattern=pattern, grant=False))
        assert isinstance(verdict("*.example.com", "shop", policy), Refused)

    @pytest.mark.parametrize("pattern", ["admin.example.org", "*.example.org", "*.com.org", "x*.net"])
    def test_a_wildcard_name_is_left_alone_by_rules_for_others(self, pattern: str) -> None:
        policy = ruled(NameRule(pattern=pattern, grant=False))
        assert verdict("*.example.com", "shop", policy) == Allowed()

    def test_a_wildcard_name_is_allowed_only_if_all_it_covers_are(self) -> None:
        policy = ruled(NameRule(pattern="a*.example.com", grant=True), NameRule(pattern="*.example.com", grant=False))
        assert verdict("api.example.com", "shop", policy) == Allowed(granted=True)
        assert isinstance(verdict("*.example.com", "shop", policy), Refused)

    @given(wildcards, labels, st.lists(labels | st.just("*"), max_size=4).map("".join))
    def test_withholding_sees_through_wildcards(self, wildcard: str, label: str, pattern: str) -> None:
        """Whatever the pattern: if it withholds a name, it withholds the wildcard that covers the name."""
        covered = parse_name(wildcard.replace("*", label, 1)) if not wildcard[2:].isdigit() else None
        for text in (pattern, f"{pattern}{wildcard[1:]}"):
            rule = NameRule(pattern=text, grant=False)
            if covered is not None and rule.applies(covered, "shop"):
                assert rule.applies(parse_name(wildcard), "shop")

    def test_hostile_patterns_end_soon(self) -> None:
        for grant in (True, False):
            rule = NameRule(pattern="*a" * 100 + "b", grant=grant)
            for name in ("*." + ".".join(["a" * 60] * 4), ".".join(["a" * 60] * 4)):
                assert not rule.applies(parse_name(name), "shop")


def claim(name: str, namespace: str, created: int = 0, by: str = "m", *, granted: bool = False) -> Claim:
    age = f"2026-01-01T00:00:{created:02}Z"
    return Claim(parse_name(name), ObjectRef("MutualTLS", namespace, by), age, granted)


# Few values, so that claims meet often.
contested = st.sampled_from(["a.example", "b.example", "*.example", "example", "*.a.example", "spiffe://x.example/a"])
claims = st.builds(
    claim,
    contested,
    st.sampled_from(["n1", "n2", "n3"]),
    st.integers(0, 3),
    st.sampled_from(["m1", "m2"]),
    granted=st.sampled_from([False, False, True]),
)


class TestFirstComeFirstServed:
    """Any other name belongs to the namespace whose MutualTLS claimed it first; later ones are Conflicted."""

    def test_the_oldest_claim_owns_the_name(self) -> None:
        first, later = claim("pay.example", "shop", 1), claim("pay.example", "blog", 2)
        assert settle([later, first]) == {first: Allowed(), later: Conflicted(later.name, first)}
        assert owner_of(first.name, [later, first]) == first

    def test_the_loser_is_told_to_whom(self) -> None:
        first, later = claim("*.example", "shop", 1, "mtls"), claim("pay.example", "blog", 2)
        conflict = settle([first, later])[later]
        assert isinstance(conflict, Conflicted)
        assert conflict.reason == (
            "'pay.example' belongs to namespace 'shop': MutualTLS shop/mtls claimed '*.example' first. "
            "Choose another name, or have that one removed."
        )

    def test_equal_age_is_decided_by_namespace_then_name(self) -> None:
        assert owner_of(
            SubjectName("x.example"),
            [claim("x.example", "b", by="a"), claim("x.example", "a", by="b"), claim("x.example", "a", by="a")],
        ) == claim("x.example", "a", by="a")

    def test_a_namespace_shares_its_names_among_its_own_objects(self) -> None:
        one, two = claim("x.example", "shop", 1, "one"), claim("x.example", "shop", 2, "two")
        assert set(settle([one, two]).values()) == {Allowed()}

    def test_wildcards_and_what_they_cover_have_one_owner(self) -> None:
        exact, wild = claim("x.example", "shop", 1), claim("*.example", "blog", 2)
        assert isinstance(settle([exact, wild])[wild], Conflicted)
        wild_first = claim("*.example", "blog", 0)
        assert isinstance(settle([exact, wild_first])[exact], Conflicted)

    def test_a_grant_beats_age(self) -> None:
        """SMI-MTLS-11: a name that is granted is the namespace's, even under an older wildcard of another."""
        older, mine = claim("*.example", "blog", 1), claim("pay.example", "shop", 2, "mtls", granted=True)
        settled = settle([older, mine])
        assert settled[mine] == Allowed(granted=True)
        conflict = settled[older]
        assert isinstance(conflict, Conflicted)
        assert conflict.reason == (
            "'*.example' belongs to namespace 'shop': MutualTLS shop/mtls has 'pay.example' by a grant of a "
            "ProviderClass. Choose another name."
        )

    def test_those_to_whom_a_name_is_granted_share_it(self) -> None:
        one, two = claim("x.example", "shop", 1, granted=True), claim("x.example", "blog", 2, granted=True)
        assert set(settle([one, two]).values()) == {Allowed(granted=True)}

    def test_a_claim_that_lost_takes_nothing_from_later_ones(self) -> None:
        lost = claim("*.example", "b", 2)
        last = claim("y.example", "c", 3)
        settled = settle([claim("x.example", "a", 1), lost, last])
        assert isinstance(settled[lost], Conflicted)
        assert settled[last] == Allowed()

    def test_a_free_name_has_no_owner(self) -> None:
        assert owner_of(SubjectName("free.example"), [claim("x.example", "shop")]) is None

    @given(st.data(), st.lists(claims, max_size=8))
    def test_the_order_in_which_claims_are_seen_does_not_count(self, data: st.DataObject, them: list[Claim]) -> None:
        shuffled = data.draw(st.permutations(them))
        assert settle(shuffled) == settle(them)
        for c in them:
            assert owner_of(c.name, shuffled) == owner_of(c.name, them)

    @given(st.lists(claims, max_size=8))
    def test_overlapping_names_have_two_namespaces_only_by_grants(self, them: list[Claim]) -> None:
        held = [c for c, fate in settle(them).items() if isinstance(fate, Allowed)]
        for a in held:
            for b in held:
                same = a.by.namespace == b.by.namespace
                assert same or not overlap(a.name, b.name) or (a.granted and b.granted)

    @given(st.lists(claims, max_size=8))
    def test_who_loses_loses_to_a_claim_before_it_that_holds(self, them: list[Claim]) -> None:
        settled = settle(them)
        assert settled.keys() == set(them)
        for c, fate in settled.items():
            if isinstance(fate, Conflicted):
                assert isinstance(settled[fate.owner], Allowed)
                assert not c.granted
                assert fate.owner.rank < c.rank
                assert overlap(fate.owner.name, c.name)
                assert fate.owner.by.namespace != c.by.namespace

    @given(contested, contested)
    def test_overlap_is_mutual(self, a: str, b: str) -> None:
        assert overlap(SubjectName(a), SubjectName(b)) == overlap(SubjectName(b), SubjectName(a))
