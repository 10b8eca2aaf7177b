"""What a user hears at `kubectl apply`: refusals as `smeagol validate` words them, warnings as status will."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
import yaml

from intent.builders import (
    World,
    canary,
    mutual_tls,
    namespace,
    pod,
    provider_class,
    put,
    service,
    sidecar,
    slice_of,
    withhold,
)
from smeagol import api
from smeagol.api.convert import to_json
from smeagol.intent import Condition, Settings
from smeagol.webhook import ValidationReview, foresee
from smeagol.webhook.review import encode_verdict, parse_review
from webhook.reviews import response, review_of_object


def answer(world: World, given: dict[str, Any], **fields: Any) -> dict[str, Any]:
    judge = ValidationReview(partial(foresee, world.resolver))
    request = parse_review(review_of_object(given, **fields))
    return response(encode_verdict(request, judge(request)))


def warnings(world: World, given: api.SmiObject) -> Sequence[str]:
    found = answer(world, manifest(given))
    assert found["allowed"]
    said: Sequence[str] = found.get("warnings", [])
    return said


def manifest(given: api.SmiObject) -> dict[str, Any]:
    """As the API server hands it over."""
    body = to_json(given)
    assert isinstance(body, dict)
    return {"apiVersion": "smi-spec.io/v1beta1", "kind": type(given).__name__, **body}


SHOP = (namespace("shop"), pod("web-1", "10.0.0.1", labels={"app": "web"}), service("web"), slice_of("web", "10.0.0.1"))


class TestWarnings:
    """The object may be made, since the order of creation is free; but its user should know."""

    @pytest.mark.parametrize(
        "given", [mutual_tls("m", "web.example.com"), sidecar("s"), canary("c", "web", {"web-v1": "1"})]
    )
    def test_what_is_as_it_should_be_is_not_warned_of(self, given: api.SmiObject) -> None:
        world = World(*SHOP, service("web-v1", ip="10.96.0.2"), slice_of("web-v1", "10.0.0.1"))
        assert warnings(world, given) == []

    def test_a_backend_that_is_not_there_yet(self) -> None:
        (text,) = warnings(World(*SHOP), canary("c", "web", {"web-v2": "1"}))
        assert "web-v2" in text

    def test_a_selector_that_reaches_nothing(self) -> None:
        (text,) = warnings(World(*SHOP), mutual_tls("m", labels={"app": "wbe"}))
        assert text.startswith("spec.selector: no Pod of namespace 'shop'")

    def test_a_name_of_another_namespace(self) -> None:
        """Who claimed it first owns it, wherever the claims are made."""
        world = World(*SHOP, namespace("pay"), mutual_tls("first", "pay.example.com", namespace="pay"))
        (text,) = warnings(world, mutual_tls("m", "pay.example.com", age=9))
        assert "'pay.example.com' belongs to namespace 'pay'" in text

    def test_a_name_under_the_cluster_domain_that_is_not_ones_own(self) -> None:
        (text,) = warnings(World(*SHOP), mutual_tls("m", "db.pay.svc.cluster.local"))
        assert "belongs to namespace 'pay'" in text

    def test_a_name_that_a_class_withholds(self) -> None:
        """SMI-MTLS-11: the rules of a ProviderClass speak at `kubectl apply` too."""
        rules = [withhold("*.example.com")]
        world = World(*SHOP, provider_class("ours", names=rules, default=True))
        (text,) = warnings(world, mutual_tls("m", "pay.example.com"))
        assert "withheld from namespace 'shop' by ProviderClass 'ours'" in text

    def test_root_proxies_behind_a_selector(self) -> None:
        """SMI-CAN-22: it leads clients past them."""
        root = service("web")
        led = msgspec.structs.replace(root, spec=msgspec.structs.replace(root.spec, selector={"app": "web"}))
        world = World(namespace("shop"), led, service("v1"), slice_of("v1", "10.0.0.1"))
        (said,) = warnings(world, canary("roll", "web", {"v1": "1"}, root_proxies=2))
        assert "the root shop/web has a selector" in said
        assert warnings(world, canary("roll", "web", {"v1": "1"})) == []

    def test_another_canary_of_the_root(self) -> None:
        both = (service("web-v1", ip="10.96.0.2"), slice_of("web-v1", "10.0.0.1"))
        world = World(*SHOP, *both, canary("older", "web", {"web-v1": "1"}))
        assert any("older" in text for text in warnings(world, canary("c", "web", {"web-v1": "1"}, age=9)))

    def test_a_class_that_nobody_serves(self) -> None:
        (text,) = warnings(World(*SHOP), sidecar("s", provider_class="none-such"))
        assert "none-such" in text

    def test_an_object_of_another_provider_is_not_ours_to_speak_of(self) -> None:
        settings = Settings(controllers=frozenset({"smi-spec.io/envoy"}))
        world = World(*SHOP, provider_class("other", "example.com/other"), settings=settings)
        assert warnings(world, canary("c", "none", {"none-v1": "1"}, provider_class="other")) == []


@pytest.mark.parametrize(
    "given",
    [
        mutual_tls("m", "pay.example.com", "x.kube-system.svc", labels={"app": "wbe"}, age=9),
        canary("c", "web", {"web-v1": "1", "web-v2": "1"}, age=9),
        sidecar("s", labels={"app": "wbe"}, age=9),
    ],
)
def test_the_warning_is_the_condition_that_follows(given: api.SmiObject) -> None:
    """Word for word what status says once the object is there, and looking ahead changes nothing."""
    world = World(*SHOP, namespace("pay"), mutual_tls("first", "pay.example.com", namespace="pay"))
    before = dict(world.resolver.units)
    foreseen = foresee(world.resolver, given)
    assert world.settle() == frozenset()
    assert world.resolver.units == before
    put(world.resolver, given)
    world.settle()
    unit: Any = next(u for key, u in world.resolver.units.items() if (key.kind, key.name) == _key(given))
    conditions: tuple[Condition, ...] = unit.conditions
    assert foreseen == conditions
    assert any(not condition.status for condition in foreseen)


def _key(given: api.SmiObject) -> tuple[str, str]:
    return type(given).__name__, given.metadata.name


def test_an_object_that_is_changed_keeps_its_age() -> None:
    """Else every update of the first claim would warn of losing it to the second."""
    first = mutual_tls("first", "pay.example.com", age=1)
    world = World(*SHOP, namespace("pay"), first, mutual_tls("second", "pay.example.com", namespace="pay", age=2))
    unaged = msgspec.structs.replace(first, metadata=msgspec.structs.replace(first.metadata, creation_timestamp=None))
    assert all(condition.status for condition in foresee(world.resolver, unaged))


def test_a_new_object_is_younger_than_all() -> None:
    world = World(*SHOP, namespace("pay"), mutual_tls("first", "a.example.com", namespace="pay", age=10**9))
    new = msgspec.structs.replace(
        mutual_tls("m", "a.example.com"), metadata=api.ObjectMeta(name="m", namespace="shop", creation_timestamp=None)
    )
    assert not all(condition.status for condition in foresee(world.resolver, new))
    assert datetime.now(UTC).year < 9999


BAD = """
apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: c, namespace: shop}
spec:
  service: web
  backends: [{service: web, weight: "1"}, {service: web-v2, weight: -1}]
"""


def test_a_refusal_is_what_validate_says() -> None:
    """Every problem, each with object, field, cause, cure and code; only the file is missing."""
    document = api.read_text(BAD, file="file.yaml").documents[0]
    refused = api.parse(document)
    assert isinstance(refused, api.Refused)
    found = answer(World(*SHOP), yaml.safe_load(BAD))
    assert not found["allowed"]
    for problem in refused.problems:
        assert str(problem).partition(": ")[2] in found["status"]["message"]


@pytest.mark.parametrize(
    "fields", [{"operation": "DELETE", "object": None}, {"subResource": "status", "operation": "UPDATE"}]
)
def test_what_is_not_the_users_word_is_not_judged(fields: dict[str, Any]) -> None:
    found = answer(World(*SHOP), manifest(canary("c", "web", {"none": "1"})), **fields)
    assert found["allowed"]
    assert "warnings" not in found


def test_objects_without_a_namespace_of_their_own_are_in_the_requests() -> None:
    given = manifest(mutual_tls("m"))
    del given["metadata"]["namespace"]
    assert answer(World(*SHOP), given).get("warnings") is None


def test_no_review_holds_up_the_control_plane() -> None:
    """It is answered on the one event loop: what would take long is left to the status."""
    world = World(
        namespace("shop"),
        *(pod(f"p{i}", f"10.1.{i // 250}.{i % 250}") for i in range(1500)),
        *(mutual_tls(f"m{i}", labels={"app": f"a{i}"}) for i in range(100)),
    )
    given = mutual_tls("n", "web.cluster.local", labels={"app": "nobody"})
    assert len(foresee(world.resolver, given)) > 0
    began = time.thread_time()
    assert foresee(world.resolver, mutual_tls("all")) == ()
    assert time.thread_time() - began < 1
