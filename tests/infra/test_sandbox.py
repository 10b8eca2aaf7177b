"""The sandbox: host sockets serve, signals stop it in order, and nothing of it outlives its caller."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.harness import USERS, as_every_user, in_sandbox, start
from infra.pods import FAMILIES, NODE, add_pod, dial, listening, pod_ip
from smeagol.infra.host import sandbox
from smeagol.infra.host.diagnosis import Facts, Finding, Step, explain
from smeagol.infra.host.linux import drop_capabilities
from smeagol.infra.host.network import apply_rules, inside, set_up_node
from smeagol.infra.host.redirect import redirect_rules
from smeagol.infra.host.services import base_rules

FULL = """
import signal, sys
from infra.test_sandbox import fill
from smeagol.infra.host import sandbox
def main(sockets):
    fill()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM])
    return {stop}
sys.exit(sandbox.enter(main))
"""


def fill() -> None:
    """Put one of everything into the sandbox: Pods, rules, a mount, and children, one in a session of its own."""
    from smeagol.infra.host.linux import mount

    set_up_node(NODE)
    apply_rules(base_rules(NODE.ips))
    with inside(add_pod("a", 10)):
        apply_rules(redirect_rules())
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    mount("tmpfs", "/run", "tmpfs")
    subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])


def host_state() -> tuple[object, ...]:
    """What a leak would change: interfaces, mounts, rules of our tables. A development cluster (`smeagol0` …) may come
    and go beside us, and its images are built.
    """
    rules = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True) if _has_nft() else None
    return (
        sorted(name for _, name in socket.if_nameindex() if not re.fullmatch(r"smeagol\d+", name)),
        [line for line in Path("/proc/self/mounts").read_text().splitlines() if "/buildah/" not in line],
        rules.stdout if rules else "",
    )


def _has_nft() -> bool:
    return any((Path(folder) / "nft").exists() for folder in os.environ.get("PATH", "").split(":"))


def family_of(pid: int) -> list[int]:
    """Descriptors (pidfd) of this process's descendants; not of those that end meanwhile, as probes do."""
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        for child in children_of(current):
            with suppress(ProcessLookupError):
                found.append(os.pidfd_open(child))
                todo.append(child)
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def all_gone(descriptors: list[int], seconds: float) -> bool:
    """Wait until every one of these processes has ended."""
    import select

    poll = select.poll()
    open_ = set(descriptors)
    for each in descriptors:
        poll.register(each, select.POLLIN)
    while open_:
        ended = poll.poll(seconds * 1000)
        if not ended:
            return False
        for each, _ in ended:
            poll.unregister(each)
            open_.discard(each)
    return True


@contextmanager
def running(user: str, stop: str = "0") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A full sandbox; yields its caller, and descriptors of all processes under it."""
    process = start(user, "-c", FULL.format(stop=stop))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", line + process.stdout.read()
        yield process, family_of(process.pid)
    finally:
        process.kill()
        process.communicate()


@as_every_user
def test_nothing_is_left_when_the_caller_is_killed(user: str) -> None:
    """kill -9 of the caller ends every process; the host's interfaces, mounts and rules are as before."""
    before = host_state()
    with running(user) as (caller, family):
        assert len(family) >= 5, "keeper, init, worker and two children"
        caller.kill()
        assert all_gone(family, 60)
    assert host_state() == before


@as_every_user
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_sandbox_end_in_order(user: str, number: signal.Signals) -> None:
    """Ctrl-C and TERM reach the worker as TERM; its exit code passes through, and all the rest is gone by then."""
    with running(user, stop="42") as (caller, family):
        caller.send_signal(number)
        assert caller.wait(60) == 42
        assert all_gone(family, 0)


@as_every_user
def test_a_second_signal_ends_everything_at_once(user: str) -> None:
    with running(user, stop="print('stopping', flush=True) or signal.pause()") as (caller, family):
        caller.send_signal(signal.SIGINT)
        assert caller.stdout is not None
        assert caller.stdout.readline() == "stopping\n"
        caller.send_signal(signal.SIGINT)
        assert caller.wait(60) == 128 + signal.SIGKILL
        assert all_gone(family, 0)


EARLY = """
import os, signal, sys
from smeagol.infra.host import sandbox
caller = os.getpid()
os.register_at_fork(before=lambda: os.getpid() == caller and os.kill(caller, {number}))
sys.exit(sandbox.enter(lambda sockets: signal.pause()))
"""


@as_every_user
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_before_there_is_a_sandbox_ends_it(user: str, number: signal.Signals) -> None:
    """Who stops it at once does not wait for something that will never end."""
    process = start(user, "-c", EARLY.format(number=int(number)))
    try:
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


SERVE = """
import socket, sys
from smeagol.infra.host import sandbox
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
def main(sockets):
    connection, _ = sockets[0].accept()
    connection.sendall(str(socket.if_nameindex()).encode())
    return 0
sys.exit(sandbox.enter(main, host_sockets=[server]))
"""


@as_every_user
def test_sockets_bound_before_serve_on_the_host(user: str) -> None:
    """A socket stays in the network namespace in which it was made: the control plane inside answers outside."""
    process = start(user, "-c", SERVE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            assert client.recv(1000) == b"[(1, 'lo')]", "the answer came from a namespace with nothing but its loopback"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def between_pods() -> None:
    set_up_node(NODE)
    first, second = add_pod("first", 10), add_pod("second", 11)
    for family in FAMILIES:
        with listening(second, 80) as server, dial(first, pod_ip(11, family), 80):
            _, (source, *_) = server.accept()
            assert source.removeprefix("::ffff:") == str(pod_ip(10, family))


@as_every_user
def test_pods_reach_each_other_by_address(user: str) -> None:
    """Pod to Pod without translation: the server sees the client's own address (Kubernetes network model)."""
    in_sandbox(user, between_pods)


def no_way_out() -> None:
    set_up_node(NODE)
    pod = add_pod("first", 10)
    with pytest.raises(OSError, match=rf"\[Errno ({errno.ENETUNREACH}|{errno.EHOSTUNREACH})\]"):
        dial(pod, pod_ip(99, 4), 80)


@as_every_user
def test_what_is_not_there_is_refused_at_once(user: str) -> None:
    """No Pod waits for a timeout on an address that nobody has."""
    in_sandbox(user, no_way_out)


def test_outside_a_sandbox_nothing_is_touched() -> None:
    with pytest.raises(sandbox.OutsideSandboxError, match="SMI-H001"):
        sandbox.require_inside()


def nothing_wrong() -> None:
    assert sandbox.diagnose() is None


def no_network_namespaces() -> None:
    Path("/proc/sys/user/max_net_namespaces").write_text("0")
    finding = sandbox.diagnose()
    assert finding is not None
    assert "max_net_namespaces" in finding.fix


def no_user_namespaces() -> None:
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    drop_capabilities()
    finding = sandbox.diagnose()
    assert finding is not None
    assert "max_user_namespaces is 0" in finding.why


class TestDiagnosis:
    """Where no sandbox is possible, the message says what to type."""

    @as_every_user
    def test_a_machine_that_can_has_nothing_to_say(self, user: str) -> None:
        """Also inside a sandbox: they nest."""
        in_sandbox(user, nothing_wrong)

    @pytest.mark.netns
    @pytest.mark.parametrize("limited", [no_network_namespaces, no_user_namespaces])
    def test_what_really_fails_is_found(self, limited: Callable[[], None]) -> None:
        """In a user namespace with limits of its own."""
        if USERS[-1] == "self" and not sandbox.needs_user_namespace():
            pytest.skip("these limits would be the host's own")
        in_sandbox(USERS[-1], limited)

    @pytest.mark.parametrize(
        ("step", "number", "facts", "fix"),
        [
            (Step.USER_NAMESPACE, errno.EPERM, Facts(unprivileged_userns_clone=0), "unprivileged_userns_clone=1"),
            (Step.USER_NAMESPACE, errno.ENOSPC, Facts(max_user_namespaces=0), "user.max_user_namespaces=10000"),
            (Step.USER_NAMESPACE, errno.EPERM, Facts(seccomp=True), "--privileged"),
            (Step.USER_NAMESPACE, errno.EINVAL, Facts(), "CONFIG_USER_NS"),
            (Step.USER_MAP, errno.EACCES, Facts(apparmor_restrict_userns=1), "apparmor_restrict_unprivileged_userns=0"),
            (
                Step.NAMESPACES,
                errno.EPERM,
                Facts(apparmor_restrict_userns=1),
                "apparmor_restrict_unprivileged_userns=0",
            ),
            (Step.NAMESPACES, errno.EPERM, Facts(), "--privileged"),
            (Step.PROC, errno.EPERM, Facts(), "systempaths=unconfined"),
            (Step.VETH, errno.EOPNOTSUPP, Facts(), "modprobe veth"),
            (Step.RULES, errno.ENOENT, Facts(), "modprobe -a nf_tables"),
        ],
    )
    def test_each_obstacle_has_its_remedy(self, step: Step, number: int, facts: Facts, fix: str) -> None:
        assert fix in explain(step, number, facts).fix

    @pytest.mark.parametrize("step", Step)
    @pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC, errno.EINVAL, errno.ENOENT])
    def test_every_obstacle_has_words(self, step: Step, number: int) -> None:
        finding = explain(step, number, Facts())
        assert isinstance(finding, Finding)
        assert all((finding.what, finding.why, finding.fix))
