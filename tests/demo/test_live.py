"""`make demo`, for real: Envoys, mutual TLS, the rollout under load; and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("demo")]

COMMAND = [sys.executable, "-c", "from smeagol.cli import main; main()", "demo"]


@pytest.fixture
def base() -> Iterator[Path]:
    """A home for sockets and the demo's own files; short, because a unix socket's path is."""
    with tempfile.TemporaryDirectory(prefix="sme-") as folder:
        yield Path(folder)


def started(base: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--state-dir", str(base / "s"), *arguments],
        env={**os.environ, "TMPDIR": str(base)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_about(base: Path) -> list[str]:
    """The command lines that name the demo's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(base) in line:
                found.append(line)
    return found


@pytest.mark.timeout(600)
def test_every_step_of_the_documented_rollout_holds(base: Path) -> None:
    """Canary, "The documented rollout MUST work word for word"; no request fails; nothing stays behind."""
    demo = started(base, "--rate", "150")
    output, _ = demo.communicate(timeout=560)
    assert demo.returncode == 0, output
    last = output.splitlines()[-1]
    found = re.fullmatch(r"demo: ([\d,]+) requests, 0 failed, 8 steps held", last)
    assert found is not None, output
    assert int(found[1].replace(",", "")) > 6000
    assert "client -> foobar-v2:" in output
    assert "mutual TLS as client.foobar.example" in output
    assert processes_about(base) == []
    assert list(base.glob("smeagol-demo-*")) == []


def test_ctrl_c_cleans_up_and_says_130(base: Path) -> None:
    demo = started(base)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("foobar-v1 and its client run"):
            break
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert processes_about(base) == []
    assert list(base.glob("smeagol-demo-*")) == []


def test_a_name_that_is_taken_is_said_and_the_other_mesh_goes_on(base: Path) -> None:
    """Two demos at once are two names."""
    first = started(base)
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("foobar-v1 and its client run"):
                break
        second = started(base)
        output, _ = second.communicate(timeout=120)
        assert second.returncode == 1
        assert "is running already" in output
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)
