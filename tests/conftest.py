"""Shared test set-up."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it ships no types

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """`--dist loadgroup`: the files of one `xdist_group` mark go to one worker, all other tests wherever there is room.

    xdist 3.8 tells the group by changing the ids of tests, which pytest 9.2 does not let it do: without this the
    marks have no effect. A group is that of a whole file here.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return group_of(self.config.rootpath / file) or nodeid


@functools.cache
def group_of(file: Path) -> str:
    """What a file's `pytestmark` says; empty if nothing."""
    found = re.search(r'^pytestmark = .*xdist_group\("([^"]+)"\)', file.read_text(), re.MULTILINE)
    return found[1] if found else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByGroup | None:
    return ByGroup(config, log) if config.getoption("dist") == "loadgroup" else None
