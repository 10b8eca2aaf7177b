"""The Helm chart is written from the manifests of `smeagol install`, and is what was written last.

That Helm makes the same objects of it, and installs them, is proved in `tests/e2e/test_chart.py`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from smeagol.install import InstallSettings, manifests
from smeagol.install.resources import NAMESPACE

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """`deploy/chart.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("deploy_chart", DEPLOY / "chart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_it_is_what_the_manifests_make_of_it(generator: ModuleType) -> None:
    """No file differs, is missing, or is left over."""
    written = {
        str(path.relative_to(generator.FOLDER)): path.read_text(encoding="utf-8")
        for path in generator.FOLDER.rglob("*")
        if path.is_file() and path.name not in ("NOTES.txt", ".helmignore")
    }
    assert written == generator.chart(), "run make chart"


def test_every_setting_of_an_installation_is_a_value(generator: ModuleType) -> None:
    """A new setting is given to users of Helm too: name it in VALUES of deploy/chart.py."""
    fields = {field.name for field in dataclasses.fields(InstallSettings)}
    assert fields == {*generator.VALUES, *generator.NOT_VALUES, *generator.LEFT_OUT}


def test_every_value_has_the_default_of_the_command(generator: ModuleType) -> None:
    """Who chooses nothing gets the same either way."""
    settings = InstallSettings(version="1", image=generator.IMAGE)
    for field, value in generator.VALUES.items():
        there = getattr(settings, field)
        assert value.default == (list(there) if isinstance(there, tuple) else there), field


def test_no_stand_in_is_left(generator: ModuleType) -> None:
    """Each has become an expression, wherever it stands."""
    stand_ins = [
        str(s) for v in generator.VALUES.values() for s in (v.stand_in if v.flag == "--pod-cidr" else [v.stand_in])
    ]
    stand_ins += [stand_in for stand_in, _ in generator.NOT_VALUES.values()] + ["stand-in"]
    for name, text in generator.chart().items():
        assert not [stand_in for stand_in in stand_ins if stand_in in text], name


def test_the_whole_installation_but_its_namespace_is_in_it(generator: ModuleType) -> None:
    """Helm has made the namespace before it looks at the chart."""
    objects = [m for m in manifests(InstallSettings(version="1", image="x")) if m.resource != NAMESPACE]
    files = [name for name in generator.chart() if name.startswith(("crds/", "templates/"))]
    assert len(files) == len(objects)


def test_every_value_is_known_to_the_schema(generator: ModuleType) -> None:
    """Or Helm would refuse the chart's own defaults."""
    schema = yaml.safe_load(generator.chart()["values.schema.json"])
    values = yaml.safe_load(generator.chart()["values.yaml"])
    assert schema["properties"].keys() - {"global"} == values.keys()
