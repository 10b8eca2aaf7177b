"""The init container's command: the rules of a Pod whose proxy is known by its user, set from inside of it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from infra.harness import as_every_user, in_sandbox
from infra.pods import FAMILIES, NODE, add_pod, dial, listening, original_destination, pod_ip
from smeagol.infra.host.linux import Capability, drop_capabilities
from smeagol.infra.host.network import inside, set_up_node
from smeagol.infra.host.redirect import INBOUND_PORT, OUTBOUND_PORT, PASSED_PORTS
from smeagol.infra.host.redirect_pod import main

NOT_OURS = 1337
OURS = 0
"""In a sandbox everything is of one user, so what a proxy may is tried with rules that name that one."""


def redirect(netns: int, *arguments: str, kept: tuple[int, ...] = (Capability.NET_ADMIN,)) -> subprocess.Popen[bytes]:
    """Run the command in a Pod as its container does: with these capabilities and no other."""
    with inside(netns):
        command = [sys.executable, "-m", "smeagol.infra.host.redirect_pod", *arguments]
        process = subprocess.Popen(command, preexec_fn=lambda: drop_capabilities(kept), stderr=subprocess.PIPE)
    process.wait(timeout=20)
    return process


def pods(*arguments: str) -> tuple[int, int]:
    set_up_node(NODE)
    meshed, plain = add_pod("meshed", 10), add_pod("plain", 11)
    for _ in range(2):  # a restarted init container sets them once more
        assert redirect(meshed, *arguments).returncode == 0
    return meshed, plain


def redirected() -> None:
    meshed, plain = pods("--uid", str(NOT_OURS))
    for family in FAMILIES:
        own, elsewhere = pod_ip(10, family), pod_ip(99, family)
        with listening(meshed, OUTBOUND_PORT) as proxy, dial(meshed, elsewhere, 4242):
            connection, _ = proxy.accept()
            assert original_destination(connection, family) == (elsewhere, 4242)
        with listening(meshed, INBOUND_PORT) as proxy, dial(plain, own, 8080):
            connection, _ = proxy.accept()
            assert original_destination(connection, family) == (own, 8080)
        for port in PASSED_PORTS:
            with listening(meshed, port) as health, dial(plain, own, port):
                health.accept()


@as_every_user
def test_all_tcp_of_the_application_passes_the_proxy(user: str) -> None:
    """With NET_ADMIN alone the rules are set: out to 15001, in to 15006, the proxy's own ports left alone."""
    in_sandbox(user, redirected)


def escaping() -> None:
    meshed, plain = pods("--uid", str(OURS))
    for family in FAMILIES:
        source = "::6" if family == 6 else "127.0.0.6"
        with listening(plain, 8080) as server, dial(meshed, pod_ip(11, family), 8080):
            server.accept()
        with listening(meshed, 8080) as app, dial(meshed, pod_ip(10, family), 8080, source=source):
            app.accept()
        with listening(meshed, INBOUND_PORT) as proxy, dial(meshed, pod_ip(10, family), 8080):
            proxy.accept()


@as_every_user
def test_what_the_proxys_user_dials_does_not_come_back_to_it(user: str) -> None:
    """Connections of that user leave as they are; to its application it comes from 127.0.0.6 or ::6."""
    in_sandbox(user, escaping)


def passed() -> None:
    meshed, plain = pods("--uid", str(NOT_OURS), "--inbound-passed", "8080,9090", "--outbound-passed", "5432")
    for family in FAMILIES:
        for port in (8080, 9090):
            with listening(meshed, port) as app, dial(plain, pod_ip(10, family), port):
                app.accept()
        with listening(plain, 5432) as server, dial(meshed, pod_ip(11, family), 5432):
            server.accept()
        with listening(meshed, INBOUND_PORT) as proxy, dial(plain, pod_ip(10, family), 8081):
            proxy.accept()


@as_every_user
def test_excluded_ports_pass_by_the_proxy(user: str) -> None:
    in_sandbox(user, passed)


def powerless() -> None:
    set_up_node(NODE)
    process = redirect(add_pod("meshed", 10), "--uid", str(NOT_OURS), kept=())
    assert process.returncode == 1
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert "NET_ADMIN" in said
    assert "SMI-H009" in said


@as_every_user
def test_without_the_capability_it_says_which_is_missing(user: str) -> None:
    """The init container fails with cause and cure: a Pod that only seems to be meshed must not start."""
    in_sandbox(user, powerless)


@pytest.mark.parametrize("arguments", [[], ["--uid", "x"], ["--uid", "1", "--inbound-passed", "0"]])
def test_wrong_arguments_change_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main(arguments)
    assert "usage" in capsys.readouterr().err


def test_the_init_container_needs_no_package() -> None:
    """The smallest image will do: Python and our own modules."""
    command = "import sys, smeagol.infra.host.redirect_pod; print(*sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p.endswith("src"))}
    done = subprocess.run([sys.executable, "-S", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
