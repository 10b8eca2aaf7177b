"""Names of Services (spec: MutualTLS, Server certificate)."""

from smeagol.refs import ServiceRef


def test_a_service_is_known_by_four_names() -> None:
    """Clients may call a Service by its name, with its namespace, with `svc`, and by its FQDN."""
    assert ServiceRef("shop", "web").names() == ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local")


def test_the_cluster_domain_is_the_clusters_choice() -> None:
    assert ServiceRef("shop", "web").fqdn("corp.example") == "web.shop.svc.corp.example"
