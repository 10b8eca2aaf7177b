"""Several clusters on one machine do not share an address."""

from __future__ import annotations

from itertools import combinations

from e2e.cluster.network import Network

PLANS = [Network(index=index, versions=(4, 6)) for index in range(9)]


def test_no_two_ranges_overlap() -> None:
    """ClusterIPs, Pods and nodes, of one cluster or of two, in each family."""
    for family in range(2):
        of_family = [plan.families[family] for plan in PLANS]
        ranges = [addresses for each in of_family for addresses in (each.services, each.pods, each.machines)]
        assert not [pair for pair in combinations(ranges, 2) if pair[0].overlaps(pair[1])]


def test_first_cluster_has_the_usual_cluster_ips() -> None:
    """As kubeadm and most documents have them."""
    plan = PLANS[0]
    assert (str(plan.ipv4.services), str(plan.api_service), str(plan.dns)) == (
        "10.96.0.0/12",
        "10.96.0.1",
        "10.96.0.10",
    )


def test_addresses_lie_in_their_ranges() -> None:
    """The nodes beside this machine, and each node's Pods among the cluster's; no two nodes have the same."""
    for ranges in PLANS[3].families:
        addresses = {ranges.host, ranges.node(1), ranges.node(5)}
        assert len(addresses) == 3
        assert all(address in ranges.machines for address in addresses)
        of_nodes = [ranges.pods_of(number) for number in range(1, 6)]
        assert len(set(of_nodes)) == 5
        assert all(pods.version == ranges.pods.version and pods.subnet_of(ranges.pods) for pods in of_nodes)  # type: ignore[arg-type]


def test_ipv4_comes_first() -> None:
    """The primary address of a Pod is IPv4, unless the cluster has IPv6 alone."""
    assert [ranges.pods.version for ranges in PLANS[0].families] == [4, 6]
    assert Network(index=0, versions=(6,)).primary.pods.version == 6
