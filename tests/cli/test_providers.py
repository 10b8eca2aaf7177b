"""`smeagol providers`, offline; with a cluster it is in tests/e2e."""

from __future__ import annotations

import json

import yaml
from typer.testing import CliRunner

from smeagol.cli import build
from smeagol.runtime.offline import provider_named, providers


def said(*arguments: str) -> str:
    result = CliRunner().invoke(build(), ["providers", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_all_that_are_installed_are_listed_with_what_they_can_do() -> None:
    shown = json.loads(said("-o", "json"))
    assert [one["name"] for one in shown] == list(providers())
    for one in shown:
        provider = provider_named(one["name"])
        assert one["controllerName"] == provider.controller_name
        assert one["features"] == sorted(feature.value for feature in provider.features)
        assert "mesh" not in one


def test_yaml_and_json_say_the_same() -> None:
    assert yaml.safe_load(said("-o", "yaml")) == json.loads(said("-o", "json"))


def test_the_table_has_a_row_for_each() -> None:
    head, *rows = said().splitlines()
    assert head.split() == ["NAME", "CONTROLLER", "MAKES", "MESH", "FEATURES"]
    assert [row.split()[0] for row in rows] == list(providers())
