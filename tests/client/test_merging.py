"""What replicas say, as one answer."""

from __future__ import annotations

from smeagol.client.merging import merged_status, merged_traffic
from smeagol.control import MeshInfo, Pod, ProxyStatus, Replica, RequestSeries, SmiObject, Status, Traffic


def said_by(name: str, *connected: str, leads: bool = False) -> Status:
    """Both Pods are known to each; the proxies of `connected` are here."""
    pods = tuple(
        Pod(namespace="shop", name=pod, proxy=ProxyStatus(connected=pod in connected, synced=pod in connected))
        for pod in ("a", "b")
    )
    seen = SmiObject(kind="Canary", namespace="shop", name="web", generation=2 if leads else 1)
    replica = Replica(name=name, leads=leads, proxies=len(connected))
    return Status(mesh=MeshInfo(name="m"), pods=pods, objects=(seen,), replicas=(replica,))


def test_each_proxy_is_told_by_the_replica_that_has_it() -> None:
    """In whatever order they answer."""
    for answers in ([said_by("x", "a"), said_by("y", "b")], [said_by("y", "b"), said_by("x", "a")]):
        merged = merged_status(answers)
        assert [(pod.name, pod.proxy and pod.proxy.synced) for pod in merged.pods] == [("a", True), ("b", True)]
        assert [replica.name for replica in merged.replicas] == ["x", "y"]


def test_objects_are_as_the_leader_sees_them() -> None:
    """It writes the statuses."""
    merged = merged_status([said_by("x"), said_by("y", leads=True)])
    assert merged.objects[0].generation == 2


def test_counters_are_put_side_by_side() -> None:
    """Each Pod's are told once, by the replica that has its proxy; the time is the asker's."""
    one = Traffic(time=5, requests=(RequestSeries(namespace="shop", pod="a", direction="inbound", count=1),))
    two = Traffic(time=9000, requests=(RequestSeries(namespace="shop", pod="b", direction="inbound", count=2),))
    merged = merged_traffic([one, two], at=7)
    assert merged.time == 7
    assert [series.count for series in merged.requests] == [1, 2]
