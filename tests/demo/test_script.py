"""The demo's script is the rollout that the specification documents, on the manifests of examples/foobar."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from smeagol.api import Canary, parse, read_text
from smeagol.demo.awaited import objects_in
from smeagol.demo.run import example_folder
from smeagol.demo.script import IDENTITY, NAMESPACE, ROLLOUT, SET_UP, Call, Change, Copy, Delete, Split, canary
from smeagol.refs import ObjectRef


def changes() -> list[Change]:
    return [change for group in (*SET_UP, *(step.changes for step in ROLLOUT)) for change in group]


class TestRollout:
    def test_is_the_documented_one_word_for_word(self) -> None:
        """Canary, "The documented rollout": v1 and the root; Canary 1 to 0m; v2; try it; 500m; v2 alone; clean up."""
        assert [step.changes for step in ROLLOUT] == [
            (),
            (Split((("v1", "1"), ("v2", "0m"))),),
            (Copy("foobar-v2.yaml"),),
            (Call("http://foobar-v2/", "v2"),),
            (Split((("v1", "1"), ("v2", "500m"))),),
            (Split((("v2", "1"),)),),
            (Delete("foobar-v1.yaml"),),
            (Delete("canary.yaml"),),
        ]

    def test_one_against_500m_is_two_to_one(self) -> None:
        """Canary: only the ratio counts; the original text's "about 50 %" is an error."""
        assert dict(ROLLOUT[4].desired) == {"v1": Fraction(2, 3), "v2": Fraction(1, 3)}

    def test_every_step_says_what_each_version_gets(self) -> None:
        for step in ROLLOUT:
            assert sum(share for _, share in step.desired) == 1
            assert {version for version, _ in step.desired} == {"v1", "v2"}

    def test_windows_are_large_enough_to_count(self) -> None:
        assert all(step.requests >= 400 for step in ROLLOUT)
        assert ROLLOUT[4].requests >= 3000


class TestManifests:
    def test_all_that_the_script_names_is_in_the_example(self) -> None:
        folder = example_folder()
        for change in changes():
            if isinstance(change, (Copy, Delete)):
                assert (folder / change.file).is_file()

    def test_the_splits_it_writes_are_valid(self) -> None:
        for change in changes():
            if isinstance(change, Split):
                reading = read_text(canary(change))
                assert not reading.problems
                assert [type(parse(document)) for document in reading.documents] == [Canary]

    def test_deleting_v1_deletes_its_deployment_and_its_service_and_nothing_else(self) -> None:
        text = (example_folder() / "foobar-v1.yaml").read_text()
        assert set(objects_in(text, NAMESPACE)) == {
            ObjectRef("Deployment", NAMESPACE, "foobar-v1"),
            ObjectRef("Service", NAMESPACE, "foobar-v1"),
        }

    def test_the_client_is_known_by_the_name_that_is_looked_for(self) -> None:
        assert IDENTITY in (example_folder() / "client.yaml").read_text()

    def test_the_example_starts_where_the_rollout_starts(self) -> None:
        """Who runs `smeagol up -f examples/foobar` and edits canary.yaml makes the same steps by hand."""
        written = read_text(canary(Split((("v1", "1"), ("v2", "0m"))))).documents
        shipped = read_text((example_folder() / "canary.yaml").read_text()).documents
        assert [document.value for document in shipped] == [document.value for document in written]

    def test_no_manifest_is_forgotten(self) -> None:
        named = {change.file for change in changes() if isinstance(change, (Copy, Split))}
        assert {path.name for path in Path(example_folder()).glob("*.yaml")} == named
