"""All adapters: golden pairs of their translation, which the real API server with the peers' real CRDs accepts.

`SMEAGOL_GOLDEN=write` rewrites the right-hand sides; their diff is reviewed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers_kit.golden import GIVEN, adapters, cases, described, objects
from peers_kit.judge import Judge, judge
from smeagol.plan import JSON
from smeagol.plan.making import MADE_FOR_ANNOTATION
from smeagol.plan.peer import JSONObject, PeerProvider, at, made_by, ref_of

pytestmark = pytest.mark.xdist_group("api-judge")

CASES = cases()
each_case = pytest.mark.parametrize(
    ("provider", "case"), CASES, ids=[f"{provider.name}-{case.name}" for provider, case in CASES]
)
each_adapter = pytest.mark.parametrize("provider", list(adapters()), ids=lambda provider: provider.name)


@pytest.fixture(scope="module")
def api_server() -> Iterator[Judge]:
    with judge() as found:
        yield found


@each_case
def test_units_become_these_objects(provider: PeerProvider, case: Path) -> None:
    """The translation of `units.yaml` is the other files, and no more."""
    wanted = described(provider, case)
    if os.environ.get("SMEAGOL_GOLDEN") == "write":
        for old in case.glob("*.yaml"):
            if old.name not in GIVEN:
                old.unlink()
        for name, text in wanted.items():
            Path(case, name).write_text(text)
    assert wanted == {path.name: path.read_text() for path in case.glob("*.yaml") if path.name not in GIVEN}


@each_case
def test_objects_say_whose_they_are(provider: PeerProvider, case: Path) -> None:
    """By the labels an object of ours is told from a foreign one; only kinds that are declared are made, each once."""
    made = objects(provider, case)
    known = {(kind.group_version, kind.kind) for kind in provider.known_kinds}
    assert all(made_by(obj) == provider.name for obj in made)
    assert all(at(obj, "metadata", "annotations", MADE_FOR_ANNOTATION) for obj in made)
    assert all((obj["apiVersion"], obj["kind"]) in known for obj in made)
    assert len({ref_of(obj) for obj in made}) == len(made)


@each_adapter
def test_each_kind_is_read_in_one_version(provider: PeerProvider) -> None:
    """An object is one object, in whichever version it is read: seen twice, it would look superfluous once."""
    for kinds in (provider.kinds, provider.watched):
        assert len({(kind.group, kind.kind) for kind in kinds}) == len(kinds)
    assert {*provider.kinds, *provider.watched} <= {*provider.known_kinds}


@pytest.mark.slow
@each_case
def test_the_api_server_accepts_them(provider: PeerProvider, case: Path, api_server: Judge) -> None:
    """Strict field validation, schemas and CEL rules of the peer's own CRDs."""
    assert api_server.objections(objects(provider, case)) == ""


@pytest.mark.slow
def test_the_api_server_would_object(api_server: Judge) -> None:
    """So that the test before can fail: a field of no CRD, and a rule in CEL."""
    assert "nonsense" in api_server.objections([_route({"parentRefs": [_PARENT], "nonsense": True})])
    assert "sectionName" in api_server.objections([_route({"parentRefs": [_PARENT, _PARENT]})])


_PARENT: JSON = {"group": "", "kind": "Service", "name": "web"}


def _route(spec: JSON) -> JSONObject:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    }
