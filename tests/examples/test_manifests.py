"""Every manifest of the examples is valid, and everything that it and its README name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smeagol.api import Json, read_path
from smeagol.demo.awaited import objects_in
from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, UnitKey, UnitKind
from smeagol.plan.peer import PeerProvider
from smeagol.runtime.offline import provider_named, providers, render
from smeagol.sources.files import FolderReader

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / name) for name in ("foobar", "shop"))

each_example = pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)


def commands(value: Json) -> list[list[str]]:
    """All `command` fields of a manifest."""
    match value:
        case {"command": list(words)}:
            return [[str(word) for word in words]]
        case dict():
            return [found for each in value.values() for found in commands(each)]
        case list():
            return [found for each in value for found in commands(each)]
        case _:
            return []


@each_example
def test_is_read_without_a_problem(folder: Path) -> None:
    found = FolderReader(folder).scan()
    assert found.problems == ()
    assert found.ignored == ()
    assert {ref.kind for ref in found.smi} >= {"MutualTLS", "Canary", "Sidecar"}


@each_example
def test_the_programs_it_starts_are_there(folder: Path) -> None:
    started = [command for document in read_path(folder).documents for command in commands(document.value)]
    assert started
    for interpreter, program, *_ in started:
        assert interpreter == "python3"
        assert (folder / program).is_file()


@each_example
def test_every_backend_and_root_is_a_service_of_the_example(folder: Path) -> None:
    found = FolderReader(folder).scan()
    services = {ref.name for ref in found.core if ref.kind == "Service"}
    for ref, canary in found.smi.items():
        if ref.kind == "Canary":
            text = str(canary)
            named = set(re.findall(r"service='([^']+)'", text))
            assert named <= services


@each_example
def test_its_readme_names_files_that_exist(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert f"smeagol up -f examples/{folder.name}" in text
    for name in re.findall(r"`([a-z0-9-]+\.(?:py|yaml))`", text):
        assert (folder / name).is_file(), name


def test_objects_without_a_namespace_are_in_the_default_one() -> None:
    for folder in EXAMPLES:
        for path in folder.glob("*.yaml"):
            namespaces = {ref.namespace for ref in objects_in(path.read_text(), "default")}
            assert namespaces == {"shop" if folder.name == "shop" else "default"}


@each_example
@pytest.mark.parametrize("name", providers())
def test_every_provider_renders_it_unchanged(folder: Path, name: str) -> None:
    """One standard, many providers: of every object either something comes, or the reason why not."""
    provider = provider_named(name)
    rendered = render(FolderReader(folder).scan(), provider)
    assert [str(one.error) for one in rendered if one.error] == []
    planned = {one.key: one.plan.planned for one in rendered}
    for one in rendered:
        match one.unit:
            case CanaryIntent():
                root = UnitKey(UnitKind.SERVICE, one.unit.root.namespace, one.unit.root.name)
                assert planned[one.key] or planned[root]
            case MutualTLSIntent() | SidecarIntent():
                assert planned[one.key] or not isinstance(provider, PeerProvider)
