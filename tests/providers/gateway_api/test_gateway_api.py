"""What meshes say of routes, and which Gateway API is there."""

from __future__ import annotations

import pytest

from smeagol.plan import JSON, Feature
from smeagol.plan.peer import JSONObject, PeerFacts, Verdict
from smeagol.providers.gateway_api import provider
from smeagol.providers.gateway_api.routes import GRPC_ROUTE, HTTP_ROUTE, TCP_ROUTE, TCP_ROUTE_ALPHA


def route(*parents: JSON, generation: int = 2) -> JSONObject:
    return {"metadata": {"name": "smi-web-80", "generation": generation}, "status": {"parents": parents}}


def parent(name: str, *, observed: int = 2, **conditions: str) -> JSON:
    """`Accepted="True/Accepted"`."""
    split = {kind: said.partition("/") for kind, said in conditions.items()}
    return {
        "controllerName": name,
        "conditions": [
            {"type": kind, "status": status, "reason": reason, "message": "so", "observedGeneration": observed}
            for kind, (status, _, reason) in split.items()
        ],
    }


GOOD = parent("mesh.example/a", Accepted="True/Accepted", ResolvedRefs="True/ResolvedRefs")


class TestAnswer:
    """SMI-STATUS-11: Programmed is what the mesh itself says."""

    @pytest.mark.parametrize(
        ("parents", "verdict", "by"),
        [
            ((), Verdict.SILENT, ()),
            ((GOOD,), Verdict.PROGRAMMED, ("mesh.example/a",)),
            ((parent("b", observed=1, Accepted="True/Accepted"),), Verdict.PENDING, ("b",)),
            ((parent("b", Accepted="Unknown/Pending"),), Verdict.PENDING, ("b",)),
            ((parent("b"),), Verdict.PENDING, ("b",)),
            ((GOOD, parent("b", Accepted="False/NoMatchingParent")), Verdict.REJECTED, ("b",)),
            ((parent("b", Accepted="True/Accepted", ResolvedRefs="False/BackendNotFound"),), Verdict.REJECTED, ("b",)),
            ((parent("b", Accepted="True/Accepted", PartiallyInvalid="True/Unsupported"),), Verdict.REJECTED, ("b",)),
        ],
        ids=["silent", "accepted", "stale", "unknown", "empty", "one-refuses", "unresolved", "in-part"],
    )
    def test_the_gravest_counts(self, parents: tuple[JSON, ...], verdict: Verdict, by: tuple[str, ...]) -> None:
        answer = provider.answer(route(*parents))
        assert (answer.verdict, answer.by) == (verdict, by)

    def test_a_refusal_is_told_in_the_meshs_words(self) -> None:
        answer = provider.answer(route(parent("b", Accepted="False/NoMatchingParent")))
        assert answer.message == "Accepted, NoMatchingParent: so"


class TestDetection:
    def test_version_and_channel_are_read_from_the_crd(self) -> None:
        annotations = {
            "gateway.networking.k8s.io/bundle-version": "v1.4.0",
            "gateway.networking.k8s.io/channel": "experimental",
        }
        facts = PeerFacts(
            served=frozenset({HTTP_ROUTE, GRPC_ROUTE, TCP_ROUTE_ALPHA}), annotations={HTTP_ROUTE.crd: annotations}
        )
        peer = provider.detect(facts)
        assert (peer.version, peer.problem) == ("v1.4.0 (experimental)", "")
        assert provider.fitted(peer).kinds == (HTTP_ROUTE, GRPC_ROUTE, TCP_ROUTE_ALPHA)

    def test_one_version_of_each_kind_is_used(self) -> None:
        peer = provider.detect(PeerFacts(served=frozenset({HTTP_ROUTE, TCP_ROUTE, TCP_ROUTE_ALPHA})))
        assert provider.fitted(peer).kinds == (HTTP_ROUTE, TCP_ROUTE)

    def test_features_are_those_that_the_cluster_has(self) -> None:
        """SMI-CLASS-08: no more is claimed than can be held."""
        peer = provider.detect(PeerFacts(served=frozenset({HTTP_ROUTE})))
        assert provider.fitted(peer).features == {Feature.CANARY}

    def test_a_cluster_without_it_is_told(self) -> None:
        assert "HTTPRoute" in provider.detect(PeerFacts()).problem
