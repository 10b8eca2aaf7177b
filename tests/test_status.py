"""What status and Events say of an object (SMI-STATUS)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol import api
from smeagol.intent import (
    CanaryIntent,
    Condition,
    ConditionType,
    LeftOut,
    MutualTLSIntent,
    Protocol,
    Selection,
    SidecarIntent,
    TLSMode,
    UnitKey,
    UnitKind,
)
from smeagol.plan import Feature, Unsupported
from smeagol.refs import NodeId, ObjectRef, PodRef, ServiceRef
from smeagol.status import (
    Event,
    EventType,
    Observation,
    Rejection,
    Report,
    concerns,
    events,
    status_of,
    to_write,
    withdrawn,
)

OURS = "smi-spec.io/envoy"
OTHER = "example.com/other"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACCEPTED = Condition(type=ConditionType.ACCEPTED, status=True, reason="Accepted", message="It is.")
RESOLVED = Condition(type=ConditionType.RESOLVED_REFS, status=True, reason="ResolvedRefs", message="They are.")
CONFLICTED = Condition(type=ConditionType.ACCEPTED, status=False, reason="Conflicted", message="By another.")
UNMATCHED = Condition(type=ConditionType.ACCEPTED, status=False, reason="NoMatchingProvider", message="None.")
PODS = (PodRef("shop", "a"), PodRef("shop", "b"))
DONE = Report(observation=Observation(proxies=2))


def mutual_tls(*conditions: Condition, uninjected: tuple[PodRef, ...] = (), generation: int = 3) -> MutualTLSIntent:
    return MutualTLSIntent(
        ref=ObjectRef("MutualTLS", "shop", "m"),
        generation=generation,
        selection=Selection(pods=PODS, uninjected=uninjected),
        mode=TLSMode.STRICT,
        client_names=(),
        conditions=conditions or (ACCEPTED, RESOLVED),
        provider_class="ours",
    )


def canary(*conditions: Condition, left_out: tuple[LeftOut, ...] = ()) -> CanaryIntent:
    return CanaryIntent(
        ref=ObjectRef("Canary", "shop", "roll"),
        generation=1,
        root=ServiceRef("shop", "web"),
        wanted=((ServiceRef("shop", "web-v1"), 1000),),
        ports=((80, Protocol.HTTP),),
        left_out=left_out,
        conditions=conditions or (ACCEPTED, RESOLVED),
    )


def sidecar(*conditions: Condition) -> SidecarIntent:
    return SidecarIntent(
        ref=ObjectRef("Sidecar", "shop", "s"),
        generation=1,
        selection=Selection(pods=PODS),
        metric_labels=None,
        conditions=conditions or (ACCEPTED, RESOLVED),
    )


def written(
    unit: MutualTLSIntent | CanaryIntent | SidecarIntent,
    report: Report = DONE,
    previous: api.Status | None = None,
    *,
    seconds: int = 0,
) -> api.Status:
    now = NOON + timedelta(seconds=seconds)
    return status_of(unit, previous or api.Status(), report, controller=OURS, now=now)


def found(status: api.Status, type: ConditionType) -> api.Condition:  # noqa: A002 - as the field is called
    return next(c for c in status.conditions if c.type == type.value)


def programmed(report: Report, unit: MutualTLSIntent | CanaryIntent | SidecarIntent | None = None) -> api.Condition:
    return found(written(unit or mutual_tls(), report), ConditionType.PROGRAMMED)


class TestProgrammed:
    def test_all_have_acknowledged(self) -> None:
        """SMI-STATUS-05: true only when every proxy that it concerns has acknowledged, with their number."""
        said = programmed(DONE)
        assert (said.status, said.reason) == (api.ConditionStatus.TRUE, "Programmed")
        assert "2 proxies" in said.message

    def test_some_lag(self) -> None:
        """SMI-STATUS-05: those that lag are counted and named."""
        said = programmed(Report(observation=Observation(proxies=2, lagging=(NodeId("shop/b"),))))
        assert (said.status, said.reason) == (api.ConditionStatus.FALSE, "Pending")
        assert said.message == "1 of 2 proxies has not acknowledged it yet: shop/b."

    def test_many_lag(self) -> None:
        """SMI-STATUS-05: of many that lag the first few are named."""
        lagging = tuple(NodeId(f"shop/p{i:03}") for i in range(100))
        said = programmed(Report(observation=Observation(proxies=200, lagging=lagging)))
        assert said.message == (
            "100 of 200 proxies have not acknowledged it yet: "
            "shop/p000, shop/p001, shop/p002, shop/p003, shop/p004 and 95 more."
        )

    def test_nobody_there(self) -> None:
        """SMI-STATUS-05: without a proxy that could acknowledge it, it is not programmed."""
        assert programmed(Report()).reason == "Pending"

    def test_rejected(self) -> None:
        """SMI-STATUS-06: a proxy that refuses is named, with its own words."""
        seen = Observation(proxies=2, rejections=(Rejection(NodeId("shop/b"), "no such filter"),))
        said = programmed(Report(observation=seen))
        assert (said.status, said.reason) == (api.ConditionStatus.FALSE, "Rejected")
        assert "shop/b" in said.message
        assert "no such filter" in said.message
        assert seen.programmed == 1

    def test_untranslatable(self) -> None:
        """SMI-STATUS-06: so is what the provider could not even translate."""
        said = programmed(Report(unplanned="too many ports", observation=Observation(proxies=2)))
        assert said.reason == "Rejected"
        assert "too many ports" in said.message

    def test_pods_without_proxy(self) -> None:
        """SMI-POD-05: Pods that run without a proxy are counted and named, with the cure."""
        said = programmed(DONE, mutual_tls(uninjected=PODS[:1]))
        assert (said.status, said.reason) == (api.ConditionStatus.FALSE, "PodsNotInjected")
        assert said.message.startswith("1 of 2 Pods runs without a proxy: shop/a.")
        assert "rollout restart" in said.message

    def test_how_what_they_belong_to_gets_new_ones(self) -> None:
        """SMI-POD-05: where that is known, in place of words for all; one that nobody owns cannot be restarted."""
        said = programmed(
            replace(DONE, renewing="For new ones: Pod shop/a: delete it"), mutual_tls(uninjected=PODS[:1])
        )
        assert said.message.endswith("without a proxy: shop/a. For new ones: Pod shop/a: delete it.")
        assert "delete those that nobody owns" in programmed(DONE, mutual_tls(uninjected=PODS[:1])).message

    def test_pods_whose_owners_are_restarted(self) -> None:
        """SMI-POD-05: where that is done, it is said in place of the cure; the words are who restarts' own."""
        unit = SidecarIntent(
            ref=ObjectRef("Sidecar", "shop", "s"),
            generation=1,
            selection=Selection(pods=PODS, uninjected=PODS[:1]),
            metric_labels=None,
            restart=True,
            conditions=(ACCEPTED, RESOLVED),
        )
        said = programmed(replace(DONE, restarting="Their Deployments are restarted"), unit)
        assert said.message.endswith("without a proxy: shop/a. Their Deployments are restarted.")
        assert "kubectl rollout restart" in programmed(DONE, unit).message

    def test_pods_with_other_containers_are_named(self) -> None:
        """SMI-SIDE-07, SMI-POD-05: unless the provider cannot add containers at all, which FullySupported says."""
        unit = SidecarIntent(
            ref=ObjectRef("Sidecar", "shop", "s"),
            generation=1,
            selection=Selection(pods=PODS),
            metric_labels=None,
            containers=(api.Container(name="logs", image="logs"),),
            outdated=PODS[:1],
            conditions=(ACCEPTED, RESOLVED),
        )
        said = programmed(DONE, unit)
        assert (said.status, said.reason) == (api.ConditionStatus.FALSE, "PodsNotInjected")
        assert "1 of 2 Pods runs with other containers" in said.message
        assert "shop/a" in said.message
        unable = Unsupported("spec.containers", Feature.SIDECAR_CONTAINERS, "not here")
        assert programmed(replace(DONE, unsupported=(unable,)), unit).reason == "Programmed"
        yielded = replace(unit, outdated=(), yielded=(("logs", ObjectRef("Sidecar", "shop", "old")),))
        assert "'logs' (Sidecar shop/old)" in programmed(DONE, yielded).message

    def test_root_that_is_missing(self) -> None:
        """SMI-CAN-03: a Canary whose root is missing has nothing to program."""
        assert programmed(DONE, replace(canary(), ports=())).reason == "Pending"

    def test_long_messages(self) -> None:
        """A message is never longer than the API server takes."""
        said = programmed(Report(unplanned="x" * 40000))
        assert len(said.message) == 32768


class TestConditions:
    def test_in_order(self) -> None:
        """SMI-STATUS-01: Accepted, ResolvedRefs, Programmed, FullySupported, each of the generation that was read."""
        status = written(mutual_tls())
        assert [c.type for c in status.conditions] == ["Accepted", "ResolvedRefs", "Programmed", "FullySupported"]
        assert {c.observed_generation for c in status.conditions} == {3}
        assert status.observed_generation == 3

    @pytest.mark.parametrize("unit", [canary(CONFLICTED), mutual_tls(UNMATCHED)])
    def test_not_in_force(self, unit: CanaryIntent | MutualTLSIntent) -> None:
        """SMI-STATUS-02: what is not in force says nothing about proxies, also if it did so before."""
        before = written(replace(unit, conditions=(ACCEPTED, RESOLVED)))
        assert [c.type for c in written(unit, DONE, before).conditions] == ["Accepted"]

    def test_mutual_tls_with_refused_names(self) -> None:
        """SMI-MTLS-12: a MutualTLS with refused names is in force, so it says whether it is programmed."""
        status = written(mutual_tls(CONFLICTED, RESOLVED))
        assert found(status, ConditionType.ACCEPTED).status is api.ConditionStatus.FALSE
        assert found(status, ConditionType.PROGRAMMED).status is api.ConditionStatus.TRUE

    def test_unsupported(self) -> None:
        """SMI-STATUS-07: what the provider cannot do is listed, field by field."""
        lacking = (
            Unsupported("spec.mode", Feature.MUTUAL_TLS_PERMISSIVE, "all clients need a certificate"),
            Unsupported("spec.clientSubjectNames", Feature.MUTUAL_TLS_CLIENT_NAMES, "they are left out"),
        )
        status = written(mutual_tls(), Report(unsupported=lacking))
        said = found(status, ConditionType.FULLY_SUPPORTED)
        assert (said.status, said.reason) == (api.ConditionStatus.FALSE, "Unsupported")
        assert said.message.startswith("spec.clientSubjectNames: they are left out (MutualTLSClientNames); spec.mode:")
        assert [u.field for u in status.providers[0].unsupported] == ["spec.clientSubjectNames", "spec.mode"]

    def test_others_conditions_stay(self) -> None:
        """SMI-STATUS-03: conditions of other types belong to others."""
        strange = api.Condition(
            type="example.com/Audited",
            status=api.ConditionStatus.TRUE,
            reason="Yes",
            message="",
            last_transition_time=NOON,
        )
        assert strange in written(mutual_tls(), DONE, api.Status(conditions=(strange,))).conditions


class TestProviders:
    def test_entry(self) -> None:
        """SMI-STATUS-04: each provider has an entry of its own, with its class, conditions and counts."""
        unit = mutual_tls(uninjected=PODS[:1])
        report = Report(observation=Observation(proxies=4, lagging=(NodeId("shop/b"),)))
        (entry,) = written(unit, report).providers
        assert (entry.controller_name, entry.class_name) == (OURS, "ours")
        assert entry.counts == api.Counts(pods=2, injected=1, proxies=4, programmed=3)
        assert entry.conditions == written(unit, report).conditions

    def test_others_entry_stays(self) -> None:
        """SMI-STATUS-04: another provider's entry is not touched."""
        other = api.ProviderStatus(controller_name=OTHER, class_name="theirs")
        status = written(mutual_tls(), DONE, api.Status(providers=(other,)))
        assert [e.controller_name for e in status.providers] == [OTHER, OURS]
        assert status.providers[0] == other

    def test_withdrawn(self) -> None:
        """SMI-CLASS-04: of an object that another controller serves now, what we said is taken back, and only that."""
        theirs = api.ProviderStatus(controller_name=OTHER)
        ours = written(mutual_tls(), DONE, api.Status(providers=(theirs,)))
        assert withdrawn(ours, controller=OURS).providers == (theirs,)
        assert withdrawn(ours, controller=OURS).conditions == ()

    def test_metrics_server(self) -> None:
        """SMI-SIDE-02: a Sidecar's status has the URL to scrape, as long as it is in force."""
        report = Report(observation=Observation(proxies=2), metrics_server="http://10.0.0.1:15020/metrics")
        status = status_of(sidecar(), api.SidecarStatus(), report, controller=OURS, now=NOON)
        assert status.metrics_server == "http://10.0.0.1:15020/metrics"
        gone = status_of(sidecar(UNMATCHED), status, report, controller=OURS, now=NOON)
        assert gone.metrics_server == ""


class TestAtAGlance:
    """SMI-STATUS-13: what `kubectl get` shows in a word."""

    def test_a_canary_says_who_gets_what(self) -> None:
        """In the order of the backends, in percent; nothing once it is not in force."""
        unit = replace(canary(), wanted=((ServiceRef("shop", "web-v2"), 1000), (ServiceRef("shop", "web-v1"), 2000)))
        status = status_of(unit, api.CanaryStatus(), DONE, controller=OURS, now=NOON)
        assert status.shares == "web-v2 33.3%, web-v1 66.7%"
        assert status.ready == "2/2"
        gone = status_of(canary(CONFLICTED), status, DONE, controller=OURS, now=NOON)
        assert (gone.shares, gone.ready) == ("", "")

    def test_pods_without_a_proxy_are_not_ready(self) -> None:
        """Of the two Pods one has a proxy, which has it."""
        report = Report(observation=Observation(proxies=1))
        assert written(mutual_tls(uninjected=PODS[:1]), report).ready == "1/2"

    def test_it_is_taken_back(self) -> None:
        """With all else that another controller now says (SMI-CLASS-04)."""
        assert withdrawn(written(mutual_tls()), controller=OURS).ready == ""


class TestWriting:
    def test_same_again(self) -> None:
        """SMI-STATUS-08: a status that says nothing new is not written, however much later."""
        first = written(mutual_tls())
        again = written(mutual_tls(), DONE, first, seconds=60)
        assert to_write(first, again) is None

    def test_what_came_back_from_the_server(self) -> None:
        """SMI-STATUS-08: also if the old one has been through the API server, which keeps whole seconds."""
        first = status_of(mutual_tls(), api.Status(), DONE, controller=OURS, now=NOON.replace(microsecond=123456))
        assert {c.last_transition_time for c in first.conditions} == {NOON}
        stored = msgspec.json.decode(msgspec.json.encode(first), type=api.Status)
        assert to_write(stored, written(mutual_tls(), DONE, stored, seconds=60)) is None

    def test_time_of_transition(self) -> None:
        """SMI-STATUS-09: a condition's time changes with its status, not with its reason or message."""
        first = written(mutual_tls(uninjected=PODS), Report())
        lagging = Report(observation=Observation(proxies=1, lagging=(NodeId("shop/a"),)))
        second = written(mutual_tls(), lagging, first, seconds=60)
        assert found(second, ConditionType.PROGRAMMED).reason == "Pending"
        assert found(second, ConditionType.PROGRAMMED).last_transition_time == NOON
        third = written(mutual_tls(), DONE, second, seconds=90)
        assert found(third, ConditionType.PROGRAMMED).last_transition_time == NOON + timedelta(seconds=90)
        assert found(third, ConditionType.ACCEPTED).last_transition_time == NOON

    def test_new_generation(self) -> None:
        """SMI-STATUS-09: a new generation alone changes no condition's time."""
        first = written(mutual_tls())
        second = written(mutual_tls(generation=4), DONE, first, seconds=60)
        assert to_write(first, second) is second
        assert found(second, ConditionType.ACCEPTED).observed_generation == 4
        assert found(second, ConditionType.ACCEPTED).last_transition_time == NOON

    @given(
        st.lists(
            st.tuples(st.sampled_from([ACCEPTED, CONFLICTED, UNMATCHED]), st.integers(0, 2), st.integers(0, 2)),
            max_size=6,
        )
    )
    def test_settles(self, history: list[tuple[Condition, int, int]]) -> None:
        """SMI-STATUS-08: whatever went before, computing a status twice writes it once."""
        status = api.Status()
        for i, (accepted, proxies, lagging) in enumerate(history):
            seen = Observation(
                proxies=proxies, lagging=tuple(NodeId(f"shop/{n}") for n in range(min(proxies, lagging)))
            )
            unit = mutual_tls(accepted, RESOLVED)
            status = written(unit, Report(observation=seen), status, seconds=i)
            assert written(unit, Report(observation=seen), status, seconds=i + 1) == status


class TestConcerns:
    def test_canary(self) -> None:
        """SMI-STATUS-05: a Canary is programmed when the proxies have its root."""
        assert concerns(canary()) == (UnitKey(UnitKind.SERVICE, "shop", "web"),)
        assert concerns(replace(canary(), ports=())) == ()

    def test_selected_pods(self) -> None:
        """SMI-STATUS-05: the other kinds when each selected Pod's proxy has its own part."""
        assert concerns(mutual_tls(uninjected=PODS[:1])) == (UnitKey(UnitKind.WORKLOAD, "shop", "b"),)
        assert len(concerns(sidecar())) == 2


class TestEvents:
    def test_from_the_beginning(self) -> None:
        """SMI-STATUS-10: an object that is taken on at once and programmed says so once."""
        assert [e.reason for e in events(api.Status(), written(mutual_tls()))] == ["Accepted", "Programmed"]

    def test_nothing_new(self) -> None:
        """SMI-STATUS-10: no change, no Event."""
        first = written(mutual_tls())
        assert events(first, written(mutual_tls(), DONE, first, seconds=9)) == ()

    def test_waiting(self) -> None:
        """SMI-STATUS-10: waiting for proxies is no Event, but their having it is."""
        first = written(mutual_tls())
        waiting = written(mutual_tls(), Report(), first)
        assert events(first, waiting) == ()
        assert [e.reason for e in events(waiting, written(mutual_tls(), DONE, waiting))] == ["Programmed"]

    def test_warning(self) -> None:
        """SMI-STATUS-10: what holds no longer is a Warning with the condition's reason and message."""
        first = written(canary())
        second = written(canary(CONFLICTED), DONE, first)
        assert events(first, second) == (Event(EventType.WARNING, "Conflicted", "By another."),)

    def test_again(self) -> None:
        """SMI-STATUS-10: what holds again is a Normal one."""
        first = written(mutual_tls(CONFLICTED, RESOLVED))
        second = written(mutual_tls(), DONE, first)
        assert events(first, second) == (Event(EventType.NORMAL, "Accepted", "It is."),)

    def test_port_mismatch(self) -> None:
        """SMI-CAN-13: a backend without the port is an Event, and so is the next one."""

        def refs(message: str) -> Condition:
            return Condition(type=ConditionType.RESOLVED_REFS, status=False, reason="PortMismatch", message=message)

        first = written(canary(ACCEPTED, refs("web-v1 has no port 80.")))
        assert Event(EventType.WARNING, "PortMismatch", "web-v1 has no port 80.") in events(api.Status(), first)
        second = written(canary(ACCEPTED, refs("web-v2 has no port 80.")), DONE, first)
        assert events(first, second) == (Event(EventType.WARNING, "PortMismatch", "web-v2 has no port 80."),)

    def test_waiting_backend(self) -> None:
        """SMI-CAN-11: a backend that has lost its last ready endpoint is a Warning, though its reference resolves."""
        waits = Condition(type=ConditionType.RESOLVED_REFS, status=True, reason="NoReadyEndpoints", message="web-v2.")
        first = written(canary())
        second = written(canary(ACCEPTED, waits), DONE, first)
        assert events(first, second) == (Event(EventType.WARNING, "NoReadyEndpoints", "web-v2."),)
        third = written(canary(), DONE, second)
        assert [e.type for e in events(second, third)] == [EventType.NORMAL]

    def test_other_proxies_refuse(self) -> None:
        """SMI-STATUS-10: which proxies refuse changes all the time; that is one Event, not many."""
        one = Observation(proxies=2, rejections=(Rejection(NodeId("shop/a"), "no"),))
        two = Observation(proxies=2, rejections=(Rejection(NodeId("shop/b"), "no"),))
        first = written(mutual_tls(), Report(observation=one))
        assert events(first, written(mutual_tls(), Report(observation=two), first)) == ()
