"""What holds of the adapters for Istio, Linkerd and Kuma, whatever they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.intent import (
    CanaryIntent,
    Condition,
    ConditionType,
    InboundPort,
    MutualTLSIntent,
    Protocol,
    Selection,
    SidecarIntent,
    TLSMode,
)
from smeagol.plan import JSON, Feature
from smeagol.plan.peer import DeploymentFacts, JSONObject, PeerFacts, PeerProvider, Verdict, at, items, ref_of
from smeagol.providers.istio import provider as istio
from smeagol.providers.istio.provider import IstioPeer
from smeagol.providers.kuma import provider as kuma
from smeagol.providers.linkerd import provider as linkerd
from smeagol.providers.pod_monitor import POD_MONITOR
from smeagol.providers.selecting import alternatives, matches
from smeagol.refs import ObjectRef, PodRef, ServiceRef

ALL: tuple[PeerProvider, ...] = (istio, linkerd, kuma)
each_adapter = pytest.mark.parametrize("provider", ALL, ids=lambda provider: provider.name)
ACCEPTED = Condition(type=ConditionType.ACCEPTED, status=True, reason="Accepted", message="")
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"])).map(
    lambda d: tuple(sorted(d.items()))
)
SELECTIONS = st.builds(
    Selection,
    match_labels=LABELS,
    match_expressions=st.sampled_from(
        [
            (),
            (("tier", "Exists", ()),),
            (("tier", "NotIn", ("a",)),),
            (("tier", "In", ("a", "b")),),
            (("app", "In", ("a", "c")), ("tier", "In", ("b", "c"))),
            (("tier", "In", ("a", "b")), ("tier", "In", ("b", "c"))),
        ]
    ),
    pods=st.sampled_from([(), (PodRef("shop", "web-1"),)]),
)
CANARIES = st.builds(
    lambda weights, ports: CanaryIntent(
        ref=ObjectRef("Canary", "shop", "web"),
        generation=1,
        root=ServiceRef("shop", "web"),
        wanted=tuple((ServiceRef("shop", f"web-v{i}"), weight) for i, weight in enumerate(weights)),
        ports=tuple((80 + i, protocol) for i, protocol in enumerate(ports)),
        left_out=(),
        conditions=(ACCEPTED,),
    ),
    st.lists(st.integers(0, 10**15), min_size=1, max_size=16).filter(any),
    st.lists(st.sampled_from(Protocol), min_size=1, max_size=4),
)
MUTUAL_TLS = st.builds(
    MutualTLSIntent,
    ref=st.just(ObjectRef("MutualTLS", "shop", "web")),
    generation=st.just(1),
    selection=SELECTIONS,
    mode=st.sampled_from(TLSMode),
    client_names=st.just(()),
    conditions=st.just((ACCEPTED,)),
    ports=st.sampled_from([(), (InboundPort(8080, Protocol.HTTP),)]),
)


@each_adapter
class TestCanary:
    @given(canary=CANARIES)
    def test_weights_keep_their_ratio(self, provider: PeerProvider, canary: CanaryIntent) -> None:
        """SMI-CAN-07, SMI-CAN-08: as near as the peer's whole numbers come, and a positive weight is never zero."""
        wanted = [Fraction(weight, sum(w for _, w in canary.wanted)) for _, weight in canary.wanted]
        for weights in (w for obj in provider.plan(canary).objects for w in _weights(obj)):
            shares = [Fraction(weight, sum(weights)) for weight in weights]
            assert sum(weights) < 2**32
            assert [share > 0 for share in shares] == [share > 0 for share in wanted]
            assert all(abs(a - b) <= Fraction(len(wanted), 1_000_000) for a, b in zip(shares, wanted, strict=True))

    @given(canary=CANARIES)
    def test_a_port_is_divided_or_told(self, provider: PeerProvider, canary: CanaryIntent) -> None:
        """SMI-STATUS-07: what is not divided is in `unsupported`."""
        plan = provider.plan(canary)
        for port, protocol in canary.ports:
            divided = any(port in _ports(obj) for obj in plan.objects)
            told = any(f"port {port} " in one.message for one in plan.unsupported)
            assert divided or told, protocol

    def test_nothing_without_a_backend(self, provider: PeerProvider) -> None:
        """SMI-CAN-12: where nobody is left, the root serves, and there is no route."""
        without = replace(_canary(), wanted=((ServiceRef("shop", "web-v1"), 0),))
        assert provider.plan(without).objects == ()


@given(selection=SELECTIONS, labels=LABELS)
def test_alternatives_select_the_same_pods(selection: Selection, labels: tuple[tuple[str, str], ...]) -> None:
    """SMI-POD-04, for meshes whose selectors have labels only: each selected Pod by one set of labels, no other Pod."""
    found = alternatives(selection)
    expressions = [{"key": k, "operator": o, "values": list(values)} for k, o, values in selection.match_expressions]
    selector: JSON = {"matchLabels": dict(selection.match_labels), "matchExpressions": expressions}
    selected = matches(selector, dict(labels))
    if found:
        assert sum(each.items() <= dict(labels).items() for each in found) == selected
    elif all(operator == "In" for _, operator, _ in selection.match_expressions):
        assert not selected


@each_adapter
class TestMutualTLS:
    @given(mutual_tls=MUTUAL_TLS)
    def test_all_or_nothing(self, provider: PeerProvider, mutual_tls: MutualTLSIntent) -> None:
        """SMI-MTLS-23: what does not select exactly the Pods that are meant creates nothing, and says why."""
        plan = provider.plan(mutual_tls)
        if provider.name != "linkerd" and not alternatives(mutual_tls.selection):
            assert plan.failed_closed
        assert len({ref_of(obj) for obj in plan.objects}) == len(plan.objects)
        assert not (plan.failed_closed and plan.objects)
        assert plan == provider.plan(replace(mutual_tls))

    def test_one_whose_class_is_another_is_left_alone(self, provider: PeerProvider) -> None:
        """SMI-CLASS-02."""
        unmatched = Condition(type=ConditionType.ACCEPTED, status=False, reason="NoMatchingProvider", message="")
        assert not provider.plan(_mutual_tls((unmatched,))).planned

    def test_one_with_refused_names_is_in_force(self, provider: PeerProvider) -> None:
        """SMI-MTLS-12: else whoever claims a name first could open another's servers."""
        conflicted = Condition(type=ConditionType.ACCEPTED, status=False, reason="Conflicted", message="")
        assert provider.plan(_mutual_tls((conflicted,))).objects


@each_adapter
class TestSidecar:
    @pytest.mark.parametrize("labels", [None, (("price", "$1"),)])
    def test_labels_by_a_pod_monitor(self, provider: PeerProvider, labels: tuple[tuple[str, str], ...] | None) -> None:
        """SMI-SIDE-03: with the Prometheus operator all three put labels on series, and claim it."""
        fitted = provider.fitted(replace(provider.peer, served=provider.peer.served | {POD_MONITOR}))
        plan = fitted.plan(_sidecar(labels))
        assert Feature.SIDECAR_METRIC_LABELS in fitted.features
        assert not any(one.feature is Feature.SIDECAR_METRIC_LABELS for one in plan.unsupported)
        monitors = [obj for obj in plan.objects if obj["kind"] == "PodMonitor"]
        assert len(monitors) == (0 if provider is istio and labels else 1)
        for endpoint in items(monitors[0], "spec", "podMetricsEndpoints") if monitors else ():
            rule = next(items(endpoint, "relabelings"))
            assert rule.get("replacement") == "$$1" if labels else rule["action"] == "labelmap"

    def test_claimed_or_told(self, provider: PeerProvider) -> None:
        """SMI-STATUS-07: a label feature that is not claimed is answered where it is asked for."""
        assert Feature.SIDECAR_METRIC_LABELS not in provider.features
        assert any(one.feature is Feature.SIDECAR_METRIC_LABELS for one in provider.plan(_sidecar(None)).unsupported)


class TestDetection:
    @each_adapter
    def test_not_installed(self, provider: PeerProvider) -> None:
        assert provider.detect(PeerFacts()).problem

    @each_adapter
    def test_there(self, provider: PeerProvider) -> None:
        assert provider.detect(PeerFacts(served=provider.peer.served)).problem == ""

    def test_istio_by_its_image(self) -> None:
        """Its policies hold for the whole mesh where istiod runs."""
        istiod = DeploymentFacts(namespace="mesh", name="istiod", images=("docker.io/istio/pilot:1.29.2",), ready=True)
        peer = istio.detect(PeerFacts(served=istio.peer.served, deployments=(istiod,)))
        assert isinstance(peer, IstioPeer)
        assert (peer.version, peer.root_namespace, peer.ready) == ("1.29.2", "mesh", True)
        unit = replace(_mutual_tls((ACCEPTED,)), ref=ObjectRef("MutualTLS", "mesh", "web"))
        assert istio.fitted(peer).plan(unit).failed_closed

    def test_kuma_that_leaves_ports_open(self) -> None:
        """SMI-MTLS-23: before 2.13 a strict proxy passes on what comes to ports that it does not know."""
        control_plane = DeploymentFacts(namespace="kuma-system", name="cp", images=("kumahq/kuma-cp:2.12.3",))
        assert "2.13" in kuma.detect(PeerFacts(served=kuma.peer.served, deployments=(control_plane,))).problem

    def test_linkerd_by_its_annotation(self) -> None:
        made_by = {"linkerd.io/created-by": "linkerd/helm edge-26.8.2"}
        found = DeploymentFacts(namespace="linkerd", name="linkerd-destination", annotations=made_by)
        assert linkerd.detect(PeerFacts(served=linkerd.peer.served, deployments=(found,))).version == "edge-26.8.2"


class TestAnswers:
    @each_adapter
    def test_policies_say_nothing(self, provider: PeerProvider) -> None:
        """Their own kinds have no status: what cannot be known is not claimed."""
        for obj in provider.plan(_mutual_tls((ACCEPTED,))).objects:
            assert provider.answer(obj).verdict is Verdict.UNTOLD

    def test_istio_finds_a_fault(self) -> None:
        fault: JSON = {"level": "ERROR", "type": {"name": "ReferencedResourceNotFound", "code": "IST0101"}}
        obj = {**istio.plan(_mutual_tls((ACCEPTED,))).objects[0], "status": {"validationMessages": [fault]}}
        answer = istio.answer(obj)
        assert (answer.verdict, "IST0101" in answer.message) == (Verdict.REJECTED, True)


def _canary() -> CanaryIntent:
    return CanaryIntent(
        ref=ObjectRef("Canary", "shop", "web"),
        generation=1,
        root=ServiceRef("shop", "web"),
        wanted=((ServiceRef("shop", "web-v1"), 1),),
        ports=((80, Protocol.HTTP), (90, Protocol.TCP)),
        left_out=(),
        conditions=(ACCEPTED,),
    )


def _mutual_tls(conditions: tuple[Condition, ...]) -> MutualTLSIntent:
    return MutualTLSIntent(
        ref=ObjectRef("MutualTLS", "shop", "web"),
        generation=1,
        selection=Selection(match_labels=(("app", "web"),), pods=(PodRef("shop", "web-1"),)),
        mode=TLSMode.STRICT,
        client_names=(),
        conditions=conditions,
        ports=(InboundPort(8080, Protocol.HTTP),),
    )


def _sidecar(labels: tuple[tuple[str, str], ...] | None) -> SidecarIntent:
    return SidecarIntent(
        ref=ObjectRef("Sidecar", "shop", "web"),
        generation=1,
        selection=Selection(match_labels=(("app", "web"),)),
        metric_labels=labels,
        conditions=(ACCEPTED,),
    )


def _weights(obj: JSONObject) -> Iterator[list[int]]:
    """Every list of weights in an object."""
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            if key in {"route", "backendRefs"} and isinstance(value, list):
                yield [int(str(at(one, "weight"))) for one in value]
            elif isinstance(value, Mapping):
                yield from _weights(value)
            elif isinstance(value, list):
                for one in value:
                    if isinstance(one, Mapping):
                        yield from _weights(one)


def _ports(obj: JSONObject) -> set[JSON]:
    """The root's ports of a route or VirtualService."""
    parents = {parent.get("port") for parent in items(obj, "spec", "parentRefs")}
    entries = (*items(obj, "spec", "http"), *items(obj, "spec", "tcp"))
    matches = {match.get("port") for entry in entries for match in items(entry, "match")}
    sections = {int(str(at(to, "targetRef", "sectionName"))) for to in items(obj, "spec", "to")}
    assert ref_of(obj).namespace == "shop"
    return {*parents, *matches, *sections}
