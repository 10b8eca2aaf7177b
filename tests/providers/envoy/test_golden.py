"""Golden pairs of the translation. `SMEAGOL_GOLDEN=write` rewrites the right-hand sides; their diff is reviewed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from providers.envoy.golden import CASES, describe, units
from providers.envoy.real_envoy import objections
from smeagol.providers.envoy import provider

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_units_become_these_resources(case: Path) -> None:
    """The translation of `units.yaml` is the other files, and no more."""
    wanted = describe([provider.plan(unit) for unit in units(case)])
    if os.environ.get("SMEAGOL_GOLDEN") == "write":
        for old in case.glob("*.yaml"):
            if old.name != "units.yaml":
                old.unlink()
        for name, text in wanted.items():
            Path(case, name).write_text(text)
    kept = {path.name: path.read_text() for path in case.glob("*.yaml") if path.name != "units.yaml"}
    assert wanted == kept


@pytest.mark.envoy
def test_envoy_accepts_them(case: Path, tmp_path: Path) -> None:
    """The real Envoy reads every resource without objection."""
    resources = [resource for unit in units(case) for resource in provider.plan(unit).resources]
    assert objections(resources, tmp_path) == ""
