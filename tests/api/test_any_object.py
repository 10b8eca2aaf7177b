"""Whatever an object holds, it is parsed or refused with reasons; nothing is raised."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smeagol.api import KINDS, Document, Json, Place, Refused, parse
from smeagol.api.problems import CODES

_NAMES = sorted(
    {
        "metadata",
        "spec",
        "status",
        "apiVersion",
        "kind",
        "name",
        "namespace",
        "labels",
        "annotations",
        "selector",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "service",
        "services",
        "backends",
        "weight",
        "mode",
        "clientSubjectNames",
        "metricLabels",
        "containers",
        "env",
        "valueFrom",
        "controllerName",
    }
)
keys = st.sampled_from(_NAMES) | st.text(max_size=4)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["web", "500m", "-1", "Strict", "In", "web.shop.svc", "spiffe://a/b", "\x00", "a" * 70])
)
garbage: st.SearchStrategy[Json] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)
SAMPLES: list[dict[str, Json]] = [
    json.loads(line)["object"]
    for line in Path(__file__).with_name("server_answers.jsonl").read_text(encoding="utf-8").splitlines()
]


def assert_answered(value: Json) -> None:
    result = parse(Document(value=value, place=Place(file="x"), lines={}))
    if isinstance(result, Refused):
        assert result.problems
        for problem in result.problems:
            assert problem.code in CODES
            assert len(str(problem)) < 2000


class TestAnyObject:
    @given(kind=st.sampled_from([kind.name for kind in KINDS]), fields=st.dictionaries(keys, garbage, max_size=4))
    def test_garbage_of_our_kinds(self, kind: str, fields: dict[str, Json]) -> None:
        assert_answered({"apiVersion": "smi-spec.io/v1beta1", "metadata": {"name": "a"}, **fields, "kind": kind})

    @given(value=garbage)
    def test_garbage(self, value: Json) -> None:
        assert_answered(value)

    @given(data=st.data())
    def test_objects_with_one_part_replaced(self, data: st.DataObject) -> None:
        value = copy.deepcopy(data.draw(st.sampled_from(SAMPLES)))
        part: Json = value
        while True:
            steps: list[str] | list[int] = []
            if isinstance(part, dict):
                steps = list(part)
            elif isinstance(part, list):
                steps = list(range(len(part)))
            if not steps:
                break
            step = data.draw(st.sampled_from(steps))
            if data.draw(st.booleans()):
                part[step] = data.draw(garbage)  # type: ignore[index, call-overload] # the step is of this part
                break
            part = part[step]  # type: ignore[index, call-overload] # as above
        assert_answered(value)
