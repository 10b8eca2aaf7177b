"""What `smeagol check` concludes from what it reads. That it reads the right things is proved on a real API server."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from smeagol.api.documents import Json
from smeagol.install.api_server import Live, RefusedError
from smeagol.install.checking import (
    Finding,
    Level,
    TriedPod,
    address_findings,
    class_findings,
    definitions_findings,
    deployment_findings,
    discovery_finding,
    injection_finding,
    intermediate_finding,
    leader_finding,
    object_findings,
    security_findings,
    trust_findings,
    version_finding,
)
from smeagol.install.facts import ControllerPod, Holder, MachineRange, Workload
from smeagol.install.resources import CONFIG_MAP, CRD, NAMESPACE, OURS, PROVIDER_CLASS, Resource
from smeagol.objects import EndpointSlice, Metadata
from smeagol.pki import StoreError


def live(
    resource: Resource,
    name: str,
    *,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **body: Json,
) -> Live:
    """An object as the API server would send it."""
    metadata: Json = {"name": name, "annotations": dict(annotations or {})}
    return Live(
        resource=resource,
        metadata=Metadata(name=name, annotations=annotations or {}, labels=labels or {}),
        body={"metadata": metadata, **body},
    )


def conditions(**states: str) -> Json:
    return {"conditions": [{"type": t, "status": s, "reason": "Why", "message": "because"} for t, s in states.items()]}


def deployment(*, wanted: int = 2, updated: int = 2, available: int = 2, total: int = 2, observed: int = 1) -> Workload:
    status = {
        "observedGeneration": observed,
        "replicas": total,
        "updatedReplicas": updated,
        "availableReplicas": available,
    }
    return msgspec.convert(
        {"metadata": {"namespace": "smeagol-system", "generation": 1}, "spec": {"replicas": wanted}, "status": status},
        Workload,
    )


def pod(reason: str) -> ControllerPod:
    waiting = {"waiting": {"reason": reason, "message": "it said so"}}
    status = {"containerStatuses": [{"name": "controller", "state": waiting}]}
    return msgspec.convert({"metadata": {"name": "smeagol-1"}, "status": status}, ControllerPod)


class TestKubernetes:
    """1.29 or newer."""

    @pytest.mark.parametrize("version", ["v1.29.0", "v1.30.1+k3s1", "v1.37.2", "v2.0.0", "v1.100.0-gke.7"])
    def test_new_enough(self, version: str) -> None:
        assert version_finding(version).level is Level.OK

    @pytest.mark.parametrize("version", ["v1.28.15", "v1.9.0", "v0.30.0", "unknown"])
    def test_too_old_or_not_known(self, version: str) -> None:
        found = version_finding(version)
        assert found.is_bad
        assert version in str(found)


class TestReplicas:
    """All of the present version, and available."""

    def test_all_there(self) -> None:
        (found,) = deployment_findings(deployment(), [])
        assert found.level is Level.OK

    @pytest.mark.parametrize(
        "workload",
        [deployment(available=1), deployment(updated=1), deployment(total=3), deployment(observed=0)],
        ids=["unavailable", "old", "old ones not gone", "not seen yet"],
    )
    def test_some_missing(self, workload: Workload) -> None:
        (found,) = deployment_findings(workload, [])
        assert found.is_bad

    @pytest.mark.parametrize(
        ("reason", "cure"),
        [
            ("ImagePullBackOff", "--image"),
            ("CrashLoopBackOff", "--previous"),
            ("CreateContainerError", "describe pods"),
        ],
    )
    def test_the_kubelet_says_why_and_we_what_to_do(self, reason: str, cure: str) -> None:
        (found,) = deployment_findings(deployment(available=0), [pod(reason), pod(reason)])
        assert str(found).count(f"{reason}: it said so") == 1
        assert cure in found.fix

    def test_pods_that_begin_are_no_obstacle(self) -> None:
        assert pod("ContainerCreating").obstacle is None


class TestRest:
    """Each judgement, both ways."""

    def test_discovery(self) -> None:
        """An endpoint whose readiness is not known is ready (discovery.k8s.io/v1)."""
        found = {"metadata": {}, "endpoints": [{"conditions": {"ready": False}}, {"conditions": {}}]}
        assert discovery_finding([msgspec.convert(found, EndpointSlice)]).level is Level.OK
        found = {"metadata": {}, "endpoints": [{"conditions": {"ready": False}}]}
        assert discovery_finding([msgspec.convert(found, EndpointSlice)]).is_bad
        assert discovery_finding([]).is_bad

    def test_leader(self) -> None:
        held = msgspec.convert({"metadata": {}, "spec": {"holderIdentity": "a"}}, Holder)
        assert leader_finding(held, ["a", "b"]).level is Level.OK
        assert leader_finding(held, ["b"]).is_bad
        assert leader_finding(None, ["a"]).is_bad

    def test_definitions(self) -> None:
        """None is not a problem before an installation; some are a warning; what is not established is a problem."""
        assert list(definitions_findings([], conflicts=())) == []
        names = [f"{kind.plural}.{kind.group}" for kind in OURS]
        known = [live(CRD, name, status=conditions(Established="True")) for name in names]
        assert [f.level for f in definitions_findings(known, conflicts=())] == [Level.OK]
        assert [f.level for f in definitions_findings(known[1:], conflicts=())] == [Level.WARNING]
        broken = [*known[1:], live(CRD, names[0], status=conditions(Established="False"))]
        assert next(iter(definitions_findings(broken, conflicts=()))).is_bad

    def test_classes(self) -> None:
        """Accepted, and exactly one default."""
        default = {"smi-spec.io/is-default-class": "true"}
        ours = live(PROVIDER_CLASS, "envoy", annotations=default, status=conditions(Accepted="True"))
        assert levels(class_findings([ours])) == ["ok"]
        assert levels(class_findings([ours, live(PROVIDER_CLASS, "b", annotations=default)])) == ["ok", "warning"]
        assert levels(class_findings([live(PROVIDER_CLASS, "envoy")])) == ["problem", "warning"]
        assert levels(class_findings([])) == ["problem", "warning"]

    def test_intermediates(self) -> None:
        """One that cannot be used is no problem while another signs; cause, place, cure and page are the log's."""
        fault = StoreError("it has no ca.crt", where="Secret smeagol-system/mesh-ca", fix="put the roots into it")
        until = datetime(2030, 1, 2, tzinfo=UTC)
        later, now = intermediate_finding(fault, until), intermediate_finding(fault, None)
        assert (later.level, now.level) == (Level.WARNING, Level.PROBLEM)
        assert "the last good one signs until 2030-01-02T00:00:00Z: Secret smeagol-system/mesh-ca: it has no" in str(
            later
        )
        assert str(now).endswith("Secret smeagol-system/mesh-ca: it has no ca.crt. Put the roots into it. [SMI-K002]")

    def test_addresses(self) -> None:
        """The nodes' ranges are a hint only: many networks do not use them."""
        node = msgspec.convert({"metadata": {}, "spec": {"podCIDRs": ["10.1.0.0/24"]}}, MachineRange)
        (found,) = address_findings(None, [], [node])
        assert found.level is Level.NOTE
        assert "10.1.0.0/24" in found.fix

    @pytest.mark.parametrize(
        ("told", "missing"),
        [
            (["10.0.0.0/8", "fd00::/8"], []),
            (["10.0.0.0/8"], ["fd00::7"]),
            (["10.2.0.0/16", "fd00::/8"], ["10.1.0.7"]),
            (["192.168.0.0/16"], ["10.1.0.7", "fd00::7"]),
        ],
    )
    def test_addresses_that_it_is_not_told_of(self, told: list[str], missing: list[str]) -> None:
        """Its own Pods have addresses of each family that Pods have; each must lie in a range."""
        args = ["controller", *(word for cidr in told for word in ("--pod-cidr", cidr)), "--namespace", "x"]
        containers = {"containers": [{"name": "controller", "args": args}]}
        deployment = {"metadata": {}, "spec": {"template": {"spec": containers}}}
        own = {"metadata": {}, "status": {"podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}]}}
        found = list(address_findings(msgspec.convert(deployment, Workload), [msgspec.convert(own, ControllerPod)], []))
        assert [f.level for f in found] == ([Level.WARNING] * len(missing) or [Level.OK])
        assert all(address in f.what for address, f in zip(missing, found, strict=False))

    def test_users_objects(self) -> None:
        """What is not as it should be is named, with what its status says."""
        kind = next(kind for kind in OURS if kind.kind == "Canary")
        good = live(kind, "a", status=conditions(Accepted="True", ResolvedRefs="True", Programmed="True"))
        bad = live(kind, "b", status=conditions(Accepted="True", ResolvedRefs="False"))
        new = live(kind, "c")
        said = [str(found) for found in object_findings([good, bad, new])]
        assert said[0] == "Canary b is not ResolvedRefs (Why): because."
        assert said[1].startswith("Canary c has no status yet.")
        assert said[2] == "1 of 3 objects of the mesh are as they should be. See smeagol describe KIND NAME."
        assert levels(object_findings([good])) == ["ok"]
        assert list(object_findings([])) == []


def levels(findings: object) -> list[str]:
    assert hasattr(findings, "__iter__")
    found = list(findings)
    for each in found:
        assert isinstance(each, Finding)
        assert each.level is Level.OK or each.fix, each
        assert re.match(r"[^A-Z]", each.what), "a finding reads like the errors do"
    return [each.level.value for each in found]


class TestInjection:
    """Whether Pods get their proxies is tried, by a Pod that is not made."""

    @pytest.mark.parametrize("place", ["initContainers", "containers"])
    def test_a_pod_that_comes_back_with_a_proxy(self, place: str) -> None:
        containers: dict[str, Json] = {"containers": [{"name": "app"}], "initContainers": []}
        containers[place] = [{"name": "smeagol-proxy"}]
        made = msgspec.convert({"spec": containers}, TriedPod)
        assert injection_finding(lambda: made).level is Level.OK

    def test_a_pod_that_comes_back_as_it_was(self) -> None:
        """Nobody asked the webhook."""
        made = msgspec.convert({"spec": {"containers": [{"name": "app"}]}}, TriedPod)
        assert injection_finding(lambda: made).level is Level.PROBLEM

    @pytest.mark.parametrize(
        ("said", "level"),
        [
            ('failed calling webhook "pod.inject.smi-spec.io": context deadline exceeded', Level.PROBLEM),
            ('violates PodSecurity "baseline": non-default capabilities (container "smeagol-init")', Level.OK),
        ],
    )
    def test_a_pod_that_is_refused(self, said: str, level: Level) -> None:
        """By the webhook that does not answer; or by Pod Security, which judges the Pod with its proxy."""

        def refused() -> TriedPod:
            raise RefusedError(said, status=403)

        assert injection_finding(refused).level is level

    def test_a_namespace_that_forbids_what_it_asks_for(self) -> None:
        """`baseline` and `restricted` forbid NET_ADMIN (Kubernetes: Pod Security Standards)."""
        asked = {"smi-spec.io/inject": "enabled"}
        enforced = "pod-security.kubernetes.io/enforce"
        found = security_findings(
            [
                live(NAMESPACE, "open", labels=asked),
                live(NAMESPACE, "privileged", labels={**asked, enforced: "privileged"}),
                live(NAMESPACE, "strict", labels={**asked, enforced: "restricted"}),
                live(NAMESPACE, "outside", labels={enforced: "restricted"}),
            ]
        )
        assert [re.findall(r"namespace '(\w+)'", one.what) for one in found] == [["strict"]]

    def test_a_config_map_of_somebody_else_s_in_our_place(self) -> None:
        """It is not taken over, so somebody must be told."""
        ours = live(CONFIG_MAP, "smeagol-ca", labels={"app.kubernetes.io/managed-by": "smeagol"})
        (found,) = trust_findings([ours, live(CONFIG_MAP, "smeagol-ca")])
        assert found.level is Level.WARNING
        assert "of somebody else's" in found.what
