"""A failed test tells what its mesh looked like."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from datapath.harness import Mesh


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for mesh in Mesh.alive:
            report.sections.append((f"mesh of {item.nodeid}", mesh.story()))
    return report
