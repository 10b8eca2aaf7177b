"""SMI-POD-05: with `restart: true`, what owns Pods that lack something is restarted, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from smeagol.infra.kubernetes.restarter import held_by
from smeagol.intent import Condition, ConditionType, Selection, SidecarIntent
from smeagol.objects import Metadata, OwnerReference, Pod, PodSpec
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.restarting import (
    REPEATED_AFTER_SECONDS,
    RESTARTED_FOR,
    RETRY_SECONDS,
    Asked,
    Restart,
    Restarts,
    asked_restarts,
    owner_of,
    renewing,
)


def owned(kind: str, name: str, *, api: str = "apps/v1", labels: Mapping[str, str] | None = None) -> Metadata:
    owner = OwnerReference(api_version=api, kind=kind, name=name, controller=True)
    return Metadata(name="p", namespace="shop", labels=dict(labels or {}), owner_references=(owner,))


HASH = {"pod-template-hash": "5f6d"}


@pytest.mark.parametrize(
    ("pod", "owner"),
    [
        (owned("ReplicaSet", "web-5f6d", labels=HASH), "Deployment web"),
        (owned("StatefulSet", "db"), "StatefulSet db"),
        (owned("DaemonSet", "agent"), "DaemonSet agent"),
        (owned("ReplicaSet", "alone"), ""),
        (owned("ReplicaSet", "alone", labels=HASH), ""),
        (owned("StatefulSet", "db", api="apps.kruise.io/v1beta1"), ""),
        (owned("Job", "once", api="batch/v1"), ""),
        (owned("StatefulSet", "../../pay/deployments/web"), ""),
        (owned("ReplicaSet", "../web-5f6d", labels=HASH), ""),
        (owned("DaemonSet", "agent?dryRun=All"), ""),
        (Metadata(name="p", namespace="shop"), ""),
    ],
)
def test_what_owns_a_pod(pod: Metadata, owner: str) -> None:
    """Only what `kubectl rollout restart` would take; a Deployment is known by its ReplicaSet's name.

    Whoever makes a Pod writes any name of an owner, and reaches no other namespace by it.
    """
    kind, _, name = owner.partition(" ")
    assert owner_of(pod) == (ObjectRef(kind, "shop", name) if owner else None)


Made = tuple[Pod, bool]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def made(name: str, owner: str = "web", *, lacks: bool, by: str = "", age: int = 0, kind: str = "StatefulSet") -> Made:
    """A Pod of a StatefulSet, and whether it lacks something. `by`: the restart that has made it."""
    owners = (OwnerReference(api_version="apps/v1", kind=kind, name=owner, controller=True),)
    metadata = Metadata(
        name=name,
        namespace="shop",
        annotations={RESTARTED_FOR: by} if by else {},
        creation_timestamp=(NOON - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        owner_references=owners,
    )
    return Pod(metadata=metadata, spec=PodSpec()), lacks


def sidecar(*pods: Made, name: str = "s", restart: bool = True, outdated: bool = False) -> SidecarIntent:
    """Of generation 3; the Pods that lack something have no proxy, or the wrong containers."""
    refs = tuple(PodRef("shop", pod.metadata.name) for pod, _ in pods)
    lacking = tuple(PodRef("shop", pod.metadata.name) for pod, lacks in pods if lacks)
    return SidecarIntent(
        ref=ObjectRef("Sidecar", "shop", name),
        generation=3,
        selection=Selection(pods=refs, uninjected=() if outdated else lacking),
        outdated=lacking if outdated else (),
        metric_labels=None,
        restart=restart,
        conditions=(Condition(type=ConditionType.ACCEPTED, status=True, reason="Accepted", message=""),),
    )


def needs(*sidecars: SidecarIntent, pods: Sequence[Made], known: bool = True) -> dict[str, str]:
    """What is written into which owner's template."""
    return {restart.owner.name: restart.value for restart in asking(*sidecars, pods=pods, known=known).due}


def asking(*sidecars: SidecarIntent, pods: Sequence[Made], known: bool = True) -> Asked:
    there = {("shop", pod.metadata.name): pod for pod, _ in pods}
    return asked_restarts(sidecars, pod=there.get, uid=lambda ref: f"u-{ref.name}", known=lambda _: known, now=NOON)


def test_how_users_get_new_pods() -> None:
    """By what owns them, each once; a Pod that nobody owns is not told to be restarted. Not all are named."""
    pods = {
        ("shop", "a"): Pod(metadata=owned("ReplicaSet", "web-5f6d", labels=HASH)),
        ("shop", "b"): Pod(metadata=owned("ReplicaSet", "web-5f6d", labels=HASH)),
        ("shop", "c"): Pod(metadata=Metadata(name="c", namespace="shop")),
    }
    refs = [PodRef(*name) for name in pods]
    assert renewing([*refs, PodRef("shop", "gone")], pods.get) == (
        "For new ones: Deployment shop/web: kubectl rollout restart -n shop deployment/web; "
        "Pod shop/c: nobody makes it anew: delete it, and make it again"
    )
    assert renewing([PodRef("shop", "gone")], pods.get) == ""
    many = {("shop", f"{n}"): Pod(metadata=owned("StatefulSet", f"db-{n}")) for n in range(4)}
    assert renewing([PodRef(*name) for name in many], many.get).endswith("statefulset/db-2; and so on")


class TestWhatIsAsked:
    """Which owners are restarted now, as it follows from the Sidecars and the Pods that are there."""

    @pytest.mark.parametrize("outdated", [False, True])
    def test_owners_of_pods_that_lack_something(self, outdated: bool) -> None:
        """A proxy, or a container; each owner once, and no owner whose Pods lack nothing."""
        pods = (
            made("a", lacks=True),
            made("b", lacks=True),
            made("c", "db", lacks=False),
            made("d", "dog", lacks=True, kind="DaemonSet"),
        )
        assert needs(sidecar(*pods, outdated=outdated), pods=pods) == {"web": "u-s.3.1", "dog": "u-s.3.1"}
        assert needs(sidecar(*pods, restart=False, outdated=outdated), pods=pods) == {}

    def test_nothing_before_all_that_inject_know_the_sidecar(self) -> None:
        """Its Pods would come up as they were, and the restart would be spent; nor does another Sidecar go before."""
        pods = (made("a", lacks=True),)
        found = asking(sidecar(*pods), sidecar(*pods, name="t"), pods=pods, known=False)
        assert found == Asked(early=frozenset({ObjectRef("Sidecar", "shop", "s")}))

    def test_a_rollout_under_way_is_left_alone(self) -> None:
        """Old Pods lack something until they are replaced, however long that takes."""
        pods = (made("a", lacks=True, age=9000), made("b", lacks=False, by="u-s.3.1"))
        assert needs(sidecar(*pods), pods=pods) == {}

    def test_what_did_not_help_is_repeated_after_a_while_and_not_for_ever(self) -> None:
        """A webhook that was away leaves Pods as they were: a short while later it may be back."""
        for times, seconds in enumerate(REPEATED_AFTER_SECONDS, start=1):
            for age, wanted in ((seconds - 1, {}), (seconds, {"web": f"u-s.3.{times + 1}"})):
                pods = (made("a", lacks=True, by=f"u-s.3.{times}", age=age), made("b", lacks=True, age=9000))
                assert needs(sidecar(*pods), pods=pods) == wanted
        spent = made("a", lacks=True, by=f"u-s.3.{len(REPEATED_AFTER_SECONDS) + 1}", age=90000)
        found = asking(sidecar(spent), pods=(spent,))
        assert found == Asked(spent={ObjectRef("Sidecar", "shop", "s"): (ObjectRef("StatefulSet", "shop", "web"),)})

    def test_a_sidecar_whose_restarts_are_spent_keeps_no_other_from_its_own(self) -> None:
        """The other is counted beside it: both come to an end, and what is asked anew is counted anew."""
        spent = f"u-b.3.{len(REPEATED_AFTER_SECONDS) + 1}"
        for by, wanted in (
            (spent, f"u-z.3.1,{spent}"),
            (f"u-z.3.1,{spent}", f"u-z.3.2,{spent}"),
            (f"{spent},u-z.2.3", f"u-z.3.1,{spent}"),
            (f"u-z.3.3,{spent}", None),
            (f"u-z.3.3,u-b.2.3,{spent}", None),
            ("u-z.3.3", "u-b.3.1,u-z.3.3"),
        ):
            pods = (made("a", lacks=True, by=by, age=9000),)
            both = (sidecar(*pods, name="z"), sidecar(*pods, name="b"))
            assert needs(*both, pods=pods).get("web") == wanted, by

    def test_what_is_written_stays_small(self) -> None:
        """However many Sidecars have come and gone: the oldest are forgotten."""
        pods = (made("a", lacks=True, by=",".join(f"u-{number}.1.1" for number in range(5000))),)
        assert len(needs(sidecar(*pods), pods=pods)["web"].split(",")) == 50

    @pytest.mark.parametrize("before", ["u-s.2.3", "nonsense", "u-s.3.x", f"u-s.3.{'9' * 5000}", ",,", "u s.3.3"])
    def test_another_generation_asks_anew(self, before: str) -> None:
        """What was done for an earlier one is no answer to this one; nor is what Smeagol would not write, such as a
        number that Python refuses to read.
        """
        pods = (made("a", lacks=True, by=before),)
        assert needs(sidecar(*pods), pods=pods) == {"web": "u-s.3.1"}
        pods = (made("a", lacks=True, by="u-other.3.3"),)
        assert needs(sidecar(*pods), pods=pods) == {"web": "u-s.3.1,u-other.3.3"}

    def test_of_several_sidecars_the_first_by_name_asks(self) -> None:
        """Two that ask in turn would never come to an end."""
        pods = (made("a", lacks=True),)
        assert needs(sidecar(*pods, name="z"), sidecar(*pods, name="b"), pods=pods) == {"web": "u-b.3.1"}
        pods = (made("a", lacks=True, by="u-b.3.1"),)
        assert needs(sidecar(*pods, name="z"), sidecar(*pods, name="b"), pods=pods) == {}

    def test_a_fault_in_what_one_selects_stops_no_other(self) -> None:
        """Whatever somebody has written into a Pod."""
        bad, good = made("bad-0", "bad", lacks=True), made("good-0", "good", lacks=True)

        def there(key: tuple[str, str]) -> Pod:
            if key == ("shop", "bad-0"):
                raise ValueError("not a Pod")
            return good[0]

        both = (sidecar(bad, name="a"), sidecar(good, name="b"))
        asked = asked_restarts(both, pod=there, uid=lambda _: "u", known=lambda _: True, now=NOON)
        assert [restart.owner.name for restart in asked.due] == ["good"]

    def test_what_cannot_be_restarted_so_is_left_alone(self) -> None:
        """A Job's Pod is not made anew by changing a template."""
        pods = (made("a", lacks=True, kind="Job"),)
        assert needs(sidecar(*pods), pods=pods) == {}


def asked(name: str, need: str = "u.1.1") -> Restart:
    owner, cause = ObjectRef("Deployment", "shop", name), ObjectRef("Sidecar", "shop", "s")
    return Restart(owner=owner, cause=cause, need=need, value=need)


def test_each_is_restarted_once_and_a_fault_of_one_holds_up_no_other() -> None:
    """Until it is asked for anew: by another generation, or after nobody has asked for a while."""
    now = [0.0]
    restarts = Restarts(clock=lambda: now[0])
    a, b = asked("a"), asked("b")
    assert restarts.next([a, b]) == a
    restarts.note(a, failure="a is bound")
    assert restarts.next([a, b, b]) == b
    restarts.note(b)
    assert restarts.next([a, b]) is None
    now[0] = RETRY_SECONDS
    assert restarts.next([a, b]) == a
    assert restarts.failures(a.cause) == ("a is bound",)
    restarts.note(a)
    assert restarts.failures(a.cause) == ()
    assert restarts.next([a, b]) is None
    assert restarts.next([a, b, asked("b", "u.2.1")]) == asked("b", "u.2.1")


def test_those_that_fail_hold_up_no_other_however_many_they_are() -> None:
    """Each has its turn again, and what was not tried is tried before. One that may not be done never goes away."""
    now = [1.0]
    restarts = Restarts(clock=lambda: now[0])
    failing = [asked(f"a{i}") for i in range(50)]
    tried: list[Restart] = []
    while (due := restarts.next([*failing, asked("z")])) is not None and len(tried) < 200:
        tried.append(due)
        restarts.note(due, failure="" if due == asked("z") else "nobody has given us the right to")
        now[0] += RETRY_SECONDS
    assert tried[:52] == [*failing, asked("z"), failing[0]]
    assert tried[51:101] == failing


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, ""),
        ({"paused": False, "updateStrategy": {"type": "RollingUpdate"}}, ""),
        ({"paused": True}, "kubectl rollout resume"),
        ({"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
    ],
)
def test_what_makes_no_pods_anew_is_told(spec: Mapping[str, object], words: str) -> None:
    """A Deployment that is paused, and a StatefulSet or DaemonSet whose Pods its user deletes (apps/v1)."""
    held = held_by({"spec": spec})
    assert words in held if words else not held
