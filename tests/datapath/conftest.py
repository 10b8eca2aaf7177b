"""A failed test tells what its mesh looked like; tests that only look share one."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from datapath.harness import Mesh
from datapath.three_modes import three_modes


@pytest.fixture(scope="session")
def modes() -> Iterator[Mesh]:
    """All who use it are in one xdist group, so that there is one."""
    with three_modes() as mesh:
        yield mesh


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for mesh in Mesh.alive:
            report.sections.append((f"mesh of {item.nodeid}", mesh.story()))
    return report
