"""What the control plane may do is what its code asks for, and nothing more.

That it is enough is proved on a real API server (`tests/e2e/test_install.py`): the control plane runs there with these
rights alone.
"""

from __future__ import annotations

from smeagol.api import KINDS
from smeagol.install.access import (
    AUTHORITY_SECRET,
    CLUSTER_RULES,
    CONTROLLER,
    LEASE,
    NAMESPACE_RULES,
    RESTARTER,
    RESTARTER_RULES,
    ROOT_PROXIES_RULES,
    AccessRule,
    granting,
    handed_over,
    signing,
    trusted,
)
from smeagol.sources.kubernetes import kinds
from smeagol.webhook import WebhookPlace
from smeagol.webhook.inject import TRUST_CONFIG_MAP

READ = {"list", "watch"}

# Who asks for what; a request of new code gets its line here and its rule there.
EVERYWHERE = {
    # sources/kubernetes/reflector.py: GET of all objects of a kind, with and without watch=true
    ("", "pods"): READ,
    ("", "services"): READ,
    ("", "namespaces"): READ,
    ("discovery.k8s.io", "endpointslices"): READ,
    ("smi-spec.io", "canaries"): READ,
    ("smi-spec.io", "mutualtls"): READ,
    ("smi-spec.io", "sidecars"): READ,
    ("smi-spec.io", "providerclasses"): READ,
    # infra/kubernetes/writer.py: PATCH of …/status; POST of Events, PATCH of one that repeats
    ("smi-spec.io", "canaries/status"): {"patch"},
    ("smi-spec.io", "mutualtls/status"): {"patch"},
    ("smi-spec.io", "sidecars/status"): {"patch"},
    ("smi-spec.io", "providerclasses/status"): {"patch"},
    ("events.k8s.io", "events"): {"create", "patch"},
    # infra/kubernetes/tokens.py: POST
    ("authentication.k8s.io", "tokenreviews"): {"create"},
    # runtime/admission.py: GET of all of one name, PATCH that may create, DELETE
    ("", "configmaps"): {"list", "create", "patch", "delete"},
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): {"create", "patch"},
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): {"create", "patch"},
    ("rbac.authorization.k8s.io", "clusterroles"): {"get"},
}
WHERE_ROOT_PROXIES_IS_BOUND = {
    # runtime/root_proxies.py: GET, PATCH that may create, DELETE
    ("", "serviceaccounts"): {"get", "create", "patch", "delete"},
    ("apps", "deployments"): {"get", "create", "patch", "delete"},
    ("discovery.k8s.io", "endpointslices"): {"get", "create", "patch", "delete"},
    ("policy", "poddisruptionbudgets"): {"get", "create", "patch", "delete"},
}
WHERE_RESTARTER_IS_BOUND = {
    # infra/kubernetes/restarter.py: PATCH
    ("apps", "deployments"): {"patch"},
    ("apps", "statefulsets"): {"patch"},
    ("apps", "daemonsets"): {"patch"},
}
AT_HOME = {
    # infra/kubernetes/lease.py: GET, POST, PUT
    ("coordination.k8s.io", "leases"): {"get", "create", "update"},
    # runtime/secret_store.py: GET, POST, PATCH
    ("", "secrets"): {"get", "create", "patch"},
}


def verbs(rules: tuple[AccessRule, ...]) -> dict[tuple[str, str], set[str]]:
    """What the rules allow, for each kind."""
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for resource in rule.resources:
            found.setdefault((rule.group, resource), set()).update(rule.verbs)
    return found


def test_everywhere_it_may_do_what_is_asked_for() -> None:
    """Neither a verb more nor one less."""
    assert verbs(CLUSTER_RULES) == EVERYWHERE


def test_root_proxies_may_be_made_only_where_somebody_says_so() -> None:
    """By a ClusterRole that nobody is bound to."""
    assert verbs(ROOT_PROXIES_RULES) == WHERE_ROOT_PROXIES_IS_BOUND


def test_workloads_may_be_changed_only_where_somebody_says_so() -> None:
    """By a ClusterRole that nobody is bound to, and the command that binds it in one namespace."""
    assert verbs(RESTARTER_RULES) == WHERE_RESTARTER_IS_BOUND
    command = granting(RESTARTER, "shop", system="mesh")
    assert command == (
        "kubectl create rolebinding smeagol-restarter -n shop --clusterrole=smeagol-restarter "
        "--serviceaccount=mesh:smeagol-controller"
    )


def test_an_intermediate_that_is_handed_over_may_be_read_and_nothing_else() -> None:
    """That one Secret, and none if there is none."""
    assert handed_over("") == ()
    (rule,) = handed_over("mesh-ca")
    assert (rule.verbs, rule.resources, rule.names) == (("get",), ("secrets",), ("mesh-ca",))


def test_an_intermediate_is_asked_for_and_neither_approved_nor_signed() -> None:
    """Both are rights of their own (`approve` and `sign` on signers, `update` on the subresources); and the roots of
    that one ConfigMap may be read."""
    assert signing("") == trusted("") == ()
    # runtime/signing.py: POST; GET of the request by its name, which is never the same
    assert verbs(signing("example.com/mesh")) == {
        ("certificates.k8s.io", "certificatesigningrequests"): {"create", "get"}
    }
    (rule,) = trusted("mesh-roots")
    assert (rule.verbs, rule.resources, rule.names) == (("get",), ("configmaps",), ("mesh-roots",))


def test_in_its_own_namespace_it_may_do_what_is_asked_for() -> None:
    """Its Lease, and the Secret with the mesh's keys."""
    assert verbs(NAMESPACE_RULES) == AT_HOME


def test_every_kind_that_is_watched_may_be_watched() -> None:
    """The table above follows the sources."""
    watched = [getattr(kinds, name) for name in kinds.__all__]
    assert {("/".join(kind.group_version.split("/")[:-1]), kind.plural) for kind in watched} == {
        key for key, allowed in EVERYWHERE.items() if allowed == READ
    }


def test_the_names_are_those_that_are_used() -> None:
    """What the leader keeps everywhere is judged by name, and these are the names that it keeps."""
    rules = {rule.resources: rule.names for rule in CLUSTER_RULES if rule.names}
    assert rules == {
        ("configmaps",): (TRUST_CONFIG_MAP,),
        ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"): (WebhookPlace().name,),
        ("clusterroles",): (CONTROLLER,),
    }


def test_every_kind_of_ours_has_a_status_to_write() -> None:
    """Of no other kind is anything written."""
    written = {resource for (_, resource), allowed in EVERYWHERE.items() if resource.endswith("/status")}
    assert written == {f"{kind.plural}/status" for kind in KINDS}


def test_no_rule_reaches_further_than_it_says() -> None:
    """No wildcard; Secrets only at home, read and written only by name; nothing is deleted but by name."""
    for rule in (*CLUSTER_RULES, *NAMESPACE_RULES, *RESTARTER_RULES):
        assert "*" not in {rule.group, *rule.resources, *rule.verbs}
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule.verbs)
        assert rule.names or "delete" not in rule.verbs
    assert not any("secrets" in rule.resources for rule in CLUSTER_RULES)
    for rule in NAMESPACE_RULES:
        # What is created has no name yet when access is judged (Kubernetes: RBAC, resourceNames).
        assert rule.names in ((LEASE,), (AUTHORITY_SECRET,)) or rule.verbs == ("create",)
