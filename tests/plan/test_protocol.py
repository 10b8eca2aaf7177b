"""What is said to providers in processes of their own, and what of their answers is taken."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from smeagol.intent import CanaryIntent, MutualTLSIntent, Protocol, Selection, TLSMode
from smeagol.plan import Feature, Plan, Unsupported
from smeagol.plan.peer import Verdict
from smeagol.plan.protocol import (
    MOST_OBJECTS,
    BadAnswerError,
    Introduction,
    answer_of,
    introduction,
    plan_of,
    schema,
    sent,
)
from smeagol.refs import ObjectRef, ServiceRef

CANARY = CanaryIntent(
    ref=ObjectRef("Canary", "shop", "web"),
    generation=3,
    root=ServiceRef("shop", "web"),
    wanted=((ServiceRef("shop", "web-v1"), 900), (ServiceRef("shop", "web-v2"), 100)),
    ports=((80, Protocol.HTTP),),
    left_out=(),
    conditions=(),
)
WHO: dict[str, Any] = {
    "name": "mine",
    "controllerName": "example.com/mine",
    "features": ["Canary"],
    "kinds": [{"apiVersion": "v1", "kind": "ConfigMap", "plural": "configmaps"}],
}


def who(**other: object) -> Introduction:
    return introduction(msgspec.json.encode({**WHO, **other}))


def config_map(name: str = "map", **metadata: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "b"}}


def planned(**answer: object) -> Plan:
    return plan_of(msgspec.json.encode(answer), CANARY, who())


def test_fields_are_named_as_in_kubernetes() -> None:
    """The unit as it is, in camel case; references are objects, weights are thousandths."""
    said = msgspec.json.decode(sent(CANARY))
    assert said["kind"] == "Canary"
    assert said["unit"]["root"] == {"namespace": "shop", "name": "web"}
    assert said["unit"]["wanted"][1] == [{"namespace": "shop", "name": "web-v2"}, 100]
    assert (said["unit"]["leftOut"], said["unit"]["rootHeadless"]) == ([], False)


def test_the_schema_names_fields_as_they_are_sent() -> None:
    """Those of the unit, and those within it: what an author reads in the documentation is what comes."""
    selection = Selection(match_labels=(("app", "web"),), match_expressions=(("tier", "In", ("a",)),))
    unit = MutualTLSIntent(
        ref=ObjectRef("MutualTLS", "shop", "web"),
        generation=1,
        selection=selection,
        mode=TLSMode.STRICT,
        client_names=(),
        conditions=(),
    )
    said, definitions = msgspec.json.decode(sent(unit))["unit"], schema()["$defs"]
    for name, fields in (("MutualTLSIntent", said), ("Selection", said["selection"])):
        assert set(fields) == set(definitions[name]["properties"]) == set(definitions[name]["required"])


def test_what_is_made_is_marked_and_lies_beside_its_user() -> None:
    """A provider cannot take a mark off, nor write owners, finalizers or statuses."""
    labels = {"mine": "yes", "smi-spec.io/made-by": "somebody"}
    given = config_map(labels=labels, finalizers=["x/y"], ownerReferences=[{}]) | {"status": {}}
    (made,) = planned(objects=[given]).objects
    assert made == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "map",
            "namespace": "shop",
            "labels": {"mine": "yes", "app.kubernetes.io/managed-by": "smeagol", "smi-spec.io/made-by": "mine"},
            "annotations": {"smi-spec.io/made-for": "Canary shop/web"},
        },
        "data": {"a": "b"},
    }


def test_what_cannot_be_had() -> None:
    why = {"field": "spec", "feature": "CanaryTCP", "message": "no"}
    assert planned(unsupported=[why]).unsupported == (Unsupported("spec", Feature.CANARY_TCP, "no"),)
    assert planned(unsupported=[why], failedClosed=True).failed_closed
    assert planned() == Plan()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"objects": [config_map() | {"kind": "Secret"}]}, "Secret of v1 is not among"),
        ({"objects": [config_map(namespace="kube-system")]}, "namespace kube-system"),
        ({"objects": [config_map(name="")]}, r"no metadata\.name"),
        ({"objects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": "?"}]}, r"no metadata\.name"),
        ({"objects": [config_map(f"m{i}") for i in range(MOST_OBJECTS + 1)]}, "at most 64"),
        ({"objects": [config_map()], "failedClosed": True}, "fails closed"),
        ({"objects": "none"}, "cannot be read"),
        ({"unsupported": [{"field": "spec", "feature": "Magic", "message": ""}]}, "Magic"),
    ],
)
def test_what_is_not_taken(answer: dict[str, Any], says: str) -> None:
    """Kinds it has not named, other namespaces, too much, and what the protocol does not have."""
    with pytest.raises(BadAnswerError, match=says):
        planned(**answer)


@pytest.mark.parametrize("wrong", [{"name": "My Provider"}, {"name": ""}, {"controllerName": "mine"}, {"features": 1}])
def test_who_cannot_be_called_by_its_name(wrong: dict[str, Any]) -> None:
    """It names field managers, leases and labels."""
    with pytest.raises(BadAnswerError):
        who(**wrong)


def test_what_is_said_of_an_object() -> None:
    answer = answer_of(b'{"verdict": "Rejected", "message": "no", "by": ["haproxy"], "more": 1}')
    assert (answer.verdict, answer.message, answer.by) == (Verdict.REJECTED, "no", ("haproxy",))
    with pytest.raises(BadAnswerError, match="Programmed"):
        answer_of(b'{"verdict": "Fine"}')
