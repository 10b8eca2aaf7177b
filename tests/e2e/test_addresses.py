"""Several clusters on one machine do not share an address."""

from __future__ import annotations

from itertools import combinations

from e2e.cluster.network import Network


def test_no_two_ranges_overlap() -> None:
    """ClusterIPs, Pods and nodes, of one cluster or of two."""
    plans = [Network(index=index) for index in range(9)]
    ranges = [addresses for plan in plans for addresses in (plan.services, plan.pods, plan.machines)]
    assert not [pair for pair in combinations(ranges, 2) if pair[0].overlaps(pair[1])]


def test_first_cluster_has_the_usual_cluster_ips() -> None:
    """As kubeadm and most documents have them."""
    plan = Network(index=0)
    assert (str(plan.services), str(plan.api_service), str(plan.dns)) == ("10.96.0.0/12", "10.96.0.1", "10.96.0.10")


def test_addresses_lie_in_their_ranges() -> None:
    """The nodes beside this machine, and each node's Pods among the cluster's."""
    plan = Network(index=3)
    addresses = {plan.host, plan.node(1), plan.node(5)}
    assert len(addresses) == 3
    assert all(address in plan.machines for address in addresses)
    assert all(plan.pods_of(number).subnet_of(plan.pods) for number in range(1, 6))
