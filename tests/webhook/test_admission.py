"""Which Pods are changed, and what the API server hears of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from intent.builders import STANDALONE, World, mutual_tls, namespace, sidecar
from smeagol import api, objects
from smeagol.webhook import InjectionReview, is_injected
from smeagol.webhook.review import encode_verdict, parse_review
from webhook.patching import patched
from webhook.pods import SETTINGS, bootstrap, container, pod
from webhook.reviews import operations, response, review


def answer(world: World, before: dict[str, Any], **fields: Any) -> dict[str, Any]:
    judge = InjectionReview(
        replace(SETTINGS, excluded_namespaces=frozenset({"storage"})),
        decide=world.resolver.injection_for,
        bootstrap=bootstrap,
    )
    request = parse_review(review(before, **fields))
    return response(encode_verdict(request, judge(request)))


def gets_proxy(world: World, before: dict[str, Any], **fields: Any) -> bool:
    found = answer(world, before, **fields)
    assert found["allowed"]
    assert found["uid"] == "u-1"
    after: dict[str, Any] = patched(before, operations(found))
    assert (after == before) == (not operations(found))
    return is_injected(after)


CART = {"app": "cart"}


class TestSelection:
    """Objects select, labels decide, and the Pod's own counts before its namespace's."""

    @pytest.mark.parametrize("selects", [mutual_tls("m", labels=CART), sidecar("s", labels=CART)])
    def test_a_mutual_tls_or_a_sidecar_selects(self, selects: Any) -> None:
        world = World(namespace("shop"), selects)
        assert gets_proxy(world, pod(labels=CART))
        assert not gets_proxy(world, pod(labels={"app": "web"}))
        assert not gets_proxy(world, pod())
        assert not gets_proxy(world, pod(labels=CART), namespace="elsewhere")

    def test_a_selector_of_all_selects_all(self) -> None:
        assert gets_proxy(World(namespace("shop"), mutual_tls("m")), pod())

    @pytest.mark.parametrize(
        ("of_namespace", "of_pod", "selected", "wanted"),
        [
            ("enabled", None, False, True),
            ("enabled", "disabled", True, False),
            ("disabled", None, True, False),
            ("disabled", "enabled", False, True),
            (None, "enabled", False, True),
            (None, "disabled", True, False),
            (None, None, True, True),
            (None, None, False, False),
            ("maybe", "perhaps", True, True),
        ],
    )
    def test_labels(self, of_namespace: str | None, of_pod: str | None, selected: bool, wanted: bool) -> None:
        labels = {"smi-spec.io/inject": of_namespace} if of_namespace else {}
        world = World(
            objects.Namespace(metadata=objects.Metadata(name="shop", labels=labels)),
            *([mutual_tls("m")] if selected else []),
        )
        assert gets_proxy(world, pod(labels={"smi-spec.io/inject": of_pod} if of_pod else None)) is wanted

    def test_a_pod_of_a_controller_has_no_name_yet(self) -> None:
        """`generateName`, and its namespace stands in the request only."""
        before = pod()
        before["metadata"] = {"generateName": "web-7d4b9c-"}
        assert gets_proxy(World(namespace("shop"), mutual_tls("m")), before)


class TestNever:
    """Pods that keep the cluster, or Smeagol itself, alive; whatever selects them."""

    @pytest.mark.parametrize("where", ["kube-system", "kube-public", "kube-node-lease", "smeagol-system", "storage"])
    def test_namespaces(self, where: str) -> None:
        label = {"smi-spec.io/inject": "enabled"}
        world = World(
            objects.Namespace(metadata=objects.Metadata(name=where, labels=label)), mutual_tls("m", namespace=where)
        )
        assert not gets_proxy(world, pod(labels=label), namespace=where)

    @pytest.mark.parametrize(
        "before",
        [
            pod(hostNetwork=True),
            pod(os={"name": "windows"}),
            pod(annotations={"kubernetes.io/config.mirror": "abc"}),
        ],
        ids=["host network", "Windows", "mirror of a static Pod"],
    )
    def test_pods(self, before: dict[str, Any]) -> None:
        before["metadata"]["labels"] = {"smi-spec.io/inject": "enabled"}
        assert not gets_proxy(World(namespace("shop"), mutual_tls("m")), before)

    @pytest.mark.parametrize(
        "fields",
        [{"operation": "UPDATE"}, {"operation": "DELETE", "object": None}, {"subResource": "ephemeralcontainers"}],
    )
    def test_what_runs_already_is_left_alone(self, fields: dict[str, Any]) -> None:
        assert not gets_proxy(World(namespace("shop"), mutual_tls("m")), pod(), **fields)


class TestAnswers:
    WORLD = World(namespace("shop"), mutual_tls("m"), settings=STANDALONE)

    def test_a_pod_that_cannot_have_its_proxy_is_refused_with_cause_and_cure(self) -> None:
        found = answer(self.WORLD, pod(container("smeagol-proxy")))
        assert not found["allowed"]
        assert found["status"]["code"] == 422
        assert found["status"]["message"] == (
            "spec.containers[0].name: a container may not be called 'smeagol-proxy' in a Pod with a proxy. Rename it, "
            "or take the Pod out of the mesh with the label smi-spec.io/inject: disabled. [SMI-I003]"
        )
        assert "patch" not in found

    def test_a_misspelt_annotation_is_warned_of(self) -> None:
        found = answer(self.WORLD, pod(annotations={"smeagol.dev/proxy-cpu-limits": "1"}))
        assert found["allowed"]
        assert found["warnings"] == [
            "annotation smeagol.dev/proxy-cpu-limits has no meaning; did you mean smeagol.dev/proxy-cpu-limit?"
        ]

    def test_a_pod_is_not_judged_by_what_we_know_of_pods(self) -> None:
        """Newer fields and values that our own types lack pass unchanged; what is wrong the API server says."""
        before = pod(
            container("Not_A_Label", restartPolicy="OnFailure", restartPolicyRules=[{"action": "Restart"}], ports=None),
            somethingNew={"a": [1, 2.5, None, True]},
        )
        found = answer(self.WORLD, before)
        after = patched(before, operations(found))
        assert after["spec"]["somethingNew"] == {"a": [1, 2.5, None, True]}
        assert after["spec"]["containers"] == before["spec"]["containers"]


def test_containers_of_the_sidecars_that_select_the_pod() -> None:
    """SMI-SIDE-07: none where the Pod stays outside of the mesh."""
    stats = api.Container(name="stats", image="stats:1")
    world = World(namespace("shop"), sidecar("s", labels=CART, containers=(stats,)))
    before = pod(labels=CART)
    after = patched(before, operations(answer(world, before)))
    assert [one["name"] for one in after["spec"]["initContainers"]][2:] == ["stats"]
    assert not operations(answer(world, pod(labels={**CART, "smi-spec.io/inject": "disabled"})))
