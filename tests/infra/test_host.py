"""The host: what is desired becomes true, for every Pod, as a cluster would do it."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from infra.harness import USERS, as_every_user, folder_for_all, in_sandbox, start
from infra.scene import EXEC, FAMILIES, SLEEPER, pod, processes, python, runs, scene, server, service, shell, until
from infra.test_sandbox import all_gone, family_of, host_state
from smeagol.infra.host.desired import (
    ContainerOnHost,
    EnvVar,
    Exec,
    FileOnHost,
    Grpc,
    HttpGet,
    PodSpecOnHost,
    Probe,
    ProbeAction,
    RestartPolicy,
    TcpSocket,
)
from smeagol.infra.host.remote import AgentError
from smeagol.infra.host.status import Phase, PodStatus, Running, Terminated, Waiting

pytestmark = pytest.mark.netns


def fast(action: ProbeAction, failures: int = 3) -> Probe:
    return Probe(action=action, period_seconds=0.05, timeout_seconds=5, failure_threshold=failures)


def app(status: PodStatus) -> object:
    """The state of a Pod's first container."""
    return status.containers[0].state


def waits_for(status: PodStatus, reason: str) -> bool:
    state = app(status)
    return isinstance(state, Waiting) and state.reason == reason


class TestTraffic:
    """Pods find and reach each other by address, ClusterIP and name."""

    @as_every_user
    def test_by_every_name_and_address(self, user: str) -> None:
        """Names of a Service resolve in four forms, its ClusterIPs and Pod IPs answer, for both families, at once."""
        in_sandbox(user, every_name)

    def test_what_does_not_exist_is_said_at_once(self) -> None:
        """Unknown names do not exist, inside and outside the cluster's domain; unknown ports are refused."""
        in_sandbox("self", nothing_there)

    def test_endpoints_follow(self) -> None:
        """A change of endpoints moves traffic; without ready endpoints connections are refused."""
        in_sandbox("self", endpoints_follow)

    @as_every_user
    def test_containers_serve_low_ports(self, user: str) -> None:
        """Port 80 needs no capability, as in Kubernetes."""
        in_sandbox(user, low_port)

    def test_a_headless_service_is_its_endpoints(self) -> None:
        in_sandbox("self", headless)

    @as_every_user
    def test_redirect_can_be_switched_while_the_pod_runs(self, user: str) -> None:
        """With `redirect` traffic meets the proxy's port, which here nobody serves; without, it flows."""
        in_sandbox(user, redirect_switched)


async def every_name() -> None:
    web, client = pod("web", 20, server()), pod("client", 21)
    names = ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "WEB.Shop.svc.cluster.local."]
    ips = ["10.96.0.1", "10.77.0.20:8080", "[fd96::1]", "[fd77::20]:8080"][: 2 * len(FAMILIES)]
    async with scene() as s:
        await s.apply(web, client, service("web", 1, web))
        await s.until(web, client)
        answers = await s.get(client, *(f"http://{each}/" for each in (*names, *ips)))
        assert len(answers) == len(names) + len(ips)
        assert set(answers) <= {f"web {ip}" for ip in client.ips}, "the client's own address arrives"


async def nothing_there() -> None:
    web, client = pod("web", 20, server()), pod("client", 21)
    async with scene() as s:
        await s.apply(web, client, service("web", 1, web))
        await s.until(web, client)
        urls = ("http://nope/", "http://nope.shop.svc.cluster.local/", "http://example.com/", "http://web:81/")
        assert await s.get(client, *urls) == ["gaierror", "gaierror", "gaierror", "ConnectionRefusedError"]


async def endpoints_follow() -> None:
    one, two, client = pod("one", 20, server()), pod("two", 21, server()), pod("client", 22)
    async with scene() as s:
        for endpoints in ((one,), (two,), (), (one, two)):
            await s.apply(one, two, client, service("web", 1, *endpoints))
            await s.until(one, two, client)
            answers = {answer.split()[0] for answer in await s.get(client, *["http://web/"] * 8)}
            assert answers <= ({each.hostname for each in endpoints} or {"ConnectionRefusedError"})


async def low_port() -> None:
    web = pod("web", 20, server(80))
    async with scene() as s:
        await s.apply(web)
        await s.until(web)


async def headless() -> None:
    one, two, client = pod("one", 20, server()), pod("two", 21, server()), pod("client", 22)
    async with scene() as s:
        await s.apply(one, two, client, service("web", 1, one, two, headless=True))
        await s.until(one, two, client)
        _, output = await s.run(client, "getent", "ahosts", "web")
        assert {line.split()[0] for line in output.splitlines()} == {str(ip) for each in (one, two) for ip in each.ips}
        await s.apply(one, two, client, service("web", 1, headless=True))
        assert await s.get(client, "http://web:8080/") == ["gaierror"], "no ready endpoint: no name"


async def redirect_switched() -> None:
    web, client = pod("web", 20, server()), pod("client", 21)
    async with scene() as s:
        for redirect in (False, True, False):
            await s.apply(replace(web, redirect=redirect), client, service("web", 1, web))
            await s.until(web, client)
            (answer,) = await s.get(client, "http://web/")
            assert (answer == "ConnectionRefusedError") is redirect
        assert s.host.statuses[web.ref].containers[0].restarts == 0


class TestContainer:
    """What a process finds when it starts."""

    def test_environment_and_command(self) -> None:
        """`env`, the downward API, and `$(VAR)` in command and args."""
        in_sandbox("self", environment)

    @as_every_user
    def test_it_has_no_capability_and_nothing_of_the_host(self, user: str) -> None:
        """No capabilities, not even by set-uid programs; no descriptors; own host name, /tmp (but for folders
        that Pods are given) and process list."""
        in_sandbox(user, confined)

    @as_every_user
    def test_only_the_sidecar_may_mark_its_sockets(self, user: str) -> None:
        in_sandbox(user, marks)

    def test_files_are_private_to_their_container(self) -> None:
        """The sidecar's files are its own; the Pod's are seen by all other containers."""
        in_sandbox("self", files)

    @as_every_user
    def test_what_is_not_for_containers_is_not_there(self, user: str) -> None:
        """A mesh's state may lie in a folder that its Pods see: its keys and sockets must not be theirs."""
        in_sandbox(user, hidden)

    def test_an_image_alone_is_answered_by_a_clear_message(self) -> None:
        in_sandbox("self", image_only)

    def test_a_command_that_is_not_there_is_named(self) -> None:
        in_sandbox("self", no_such_command)


async def environment() -> None:
    container = ContainerOnHost(
        name="app",
        command=("/bin/sh", "-c", 'echo "$0 $GREETING $ME $NS $IP $SA $TIER"; exec sleep 1000'),
        args=("$(GREETING)-$(UNKNOWN)-$$(GREETING)",),
        env=(
            EnvVar("NAME", "world"),
            EnvVar("GREETING", "hello-$(NAME)"),
            EnvVar("ME", field_path="metadata.name"),
            EnvVar("NS", field_path="metadata.namespace"),
            EnvVar("IP", field_path="status.podIP"),
            EnvVar("SA", field_path="spec.serviceAccountName"),
            EnvVar("TIER", field_path="metadata.labels['tier']"),
        ),
    )
    web = replace(pod("web", 20, container), service_account="cart", labels=(("tier", "front"),))
    async with scene() as s:
        await s.apply(web)
        await s.until_logged(web, "hello-world-$(UNKNOWN)-$(GREETING) hello-world web shop 10.77.0.20 cart front\n")


async def confined() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        look = "hostname; ls /tmp; ls /proc/self/fd | tr '\\n' ' '; grep -E '^Cap|NoNew' /proc/self/status | cut -f2"
        code, output = await s.run(web, "/bin/sh", "-c", look)
        assert code == 0, output
        none = "0" * 16
        descriptors = ["0", "1", "2", "3"]  # the last is the folder that ls looks at
        in_tmp = sorted({Path(folder).parts[2] for folder in s.settings.kept if folder.startswith("/tmp/")})
        assert s.shared.parent.name in in_tmp
        assert output.split() == ["web", *in_tmp, *descriptors, *[none] * 5, "1"]
        _, processes = await s.run(web, "/bin/sh", "-c", "echo /proc/[0-9]*")
        assert len(processes.split()) == 3, "the Pod's first process, its container, and the shell"


async def hidden() -> None:
    web = replace(pod("web", 20), sidecar=replace(SLEEPER, name="proxy"))
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        folder = s.shared / "hidden"
        assert list(folder.iterdir()) != []
        assert await s.run(web, "/bin/ls", "-A", str(folder)) == (0, "")
        code, _ = await s.run(web, "/bin/umount", str(folder))
        assert code != 0


MARK = python("import socket; socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1337); print('marked')")


async def marks() -> None:
    proxy = ContainerOnHost(name="proxy", command=shell(f"{shlex.join(MARK)}; exec sleep 1000"), net_admin=True)
    plain = ContainerOnHost(name="app", command=shell(f"{shlex.join(MARK)} 2>&1 | tail -1; exec sleep 1000"))
    web = replace(pod("web", 20, plain), sidecar=proxy)
    async with scene() as s:
        await s.apply(web)
        await s.until_logged(web, "marked\n", container="proxy")
        await s.until_logged(web, "PermissionError: [Errno 1] Operation not permitted\n")


async def files() -> None:
    show = shell("cat /run/smeagol/key /run/config/all; exec sleep 1000")
    proxy = ContainerOnHost(name="proxy", command=show, files=(FileOnHost("/run/smeagol/key", b"secret\n"),))
    web = replace(
        pod("web", 20, ContainerOnHost(name="app", command=show)),
        sidecar=proxy,
        files=(FileOnHost("/run/config/all", b"shared\n", 0o644),),
    )
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        await s.until_logged(web, "shared", "/run/smeagol/key: No such file")
        await s.until_logged(web, "secret", "/run/config/all: No such file", container="proxy")
    assert "secret" not in repr(web)


async def image_only() -> None:
    web = pod("web", 20, ContainerOnHost(name="app", image="nginx:1.27"))
    async with scene() as s:
        await s.apply(web)
        status = await s.until(web, what=lambda status: waits_for(status, "NoCommand"))
        state = app(status)
        assert isinstance(state, Waiting)
        assert "nginx:1.27" in state.message
        assert "`command`" in state.message
        assert not status.ready


async def no_such_command() -> None:
    web = replace(
        pod("web", 20, ContainerOnHost(name="app", command=("no-such-program",))), restart_policy=RestartPolicy.NEVER
    )
    async with scene() as s:
        await s.apply(web)
        status = await s.until(web, what=lambda status: status.phase is Phase.FAILED)
        assert app(status) == Terminated(128, "StartError", "no-such-program: not found, or not executable")


class TestLifecycle:
    """Containers start, restart and end as Kubernetes' Pod lifecycle says."""

    def test_a_container_that_ends_is_started_again_with_back_off(self) -> None:
        """CrashLoopBackOff: the first restart is immediate, the next ones wait; status tells how it ended."""
        in_sandbox("self", crash_loop)

    def test_restart_policies(self) -> None:
        """Never leaves a Pod Failed or Succeeded, OnFailure restarts until success."""
        in_sandbox("self", restart_policies)

    def test_order_of_containers(self) -> None:
        """The sidecar, init containers one by one, then containers; a failed init container is tried again."""
        in_sandbox("self", start_order)

    def test_order_of_the_end(self) -> None:
        """preStop, TERM to containers, and only when they are gone TERM to the sidecar."""
        in_sandbox("self", end_order)

    def test_who_takes_time_is_ready_until_then(self) -> None:
        """SMI-SVC-04: it may still serve, where nobody else does."""
        in_sandbox("self", slow_end)

    def test_who_ignores_term_is_killed_after_the_grace(self) -> None:
        in_sandbox("self", stubborn)

    def test_nothing_of_a_pod_outlives_it(self) -> None:
        """Also processes that left their group end with their Pod, and its address can be given to another."""
        in_sandbox("self", no_leftovers)

    def test_a_pod_that_is_made_anew_replaces_the_old(self) -> None:
        in_sandbox("self", replaced)

    def test_a_pod_that_is_killed_from_outside_can_be_made_anew(self) -> None:
        in_sandbox("self", killed_pod)

    def test_a_pod_that_cannot_be_handled_stops_no_other(self) -> None:
        """Whatever is wrong with it, it is said of this Pod."""
        in_sandbox("self", impossible_pod)

    def test_other_pods_are_left_alone(self) -> None:
        """Applying the same again, or something for another Pod, restarts nothing."""
        in_sandbox("self", left_alone)


async def crash_loop() -> None:
    web = pod("web", 20, ContainerOnHost(name="app", command=shell("echo once; exit 3")))
    async with scene() as s:
        await s.apply(web)
        await s.until(web, what=lambda status: status.containers[0].restarts >= 3)
        status = await s.until(web, what=lambda status: waits_for(status, "CrashLoopBackOff"))
        assert status.phase is Phase.RUNNING
        assert not status.ready
        assert status.containers[0].last == Terminated(3, "Error")
        await s.until_logged(web, "once\nonce\nonce\n")


async def restart_policies() -> None:
    good: PodSpecOnHost = replace(pod("good", 20, _does("exit 0")), restart_policy=RestartPolicy.NEVER)
    bad = replace(pod("bad", 21, _does("exit 5")), restart_policy=RestartPolicy.NEVER)
    tried = replace(pod("tried", 22, _does("exit 5")), restart_policy=RestartPolicy.ON_FAILURE)
    async with scene() as s:
        await s.apply(good, bad, tried)
        await s.until(good, what=lambda status: status.phase is Phase.SUCCEEDED)
        await s.until(bad, what=lambda status: status.phase is Phase.FAILED)
        await s.until(tried, what=lambda status: status.containers[0].restarts >= 2)
        assert s.host.statuses[bad.ref].containers[0].restarts == 0


def _does(script: str, name: str = "app") -> ContainerOnHost:
    return ContainerOnHost(name=name, command=shell(script))


async def start_order() -> None:
    """Each container writes its name into a folder that all see."""
    async with scene() as s:
        note = f"echo $NAME >> {s.shared}/order; "

        def step(name: str, script: str, *, lasts: bool = False) -> ContainerOnHost:
            return replace(_does(note + script, name), env=(EnvVar("NAME", name),), restart_always=lasts)

        ready = fast(Exec(("/bin/sh", "-c", f"test -e {s.shared}/go && grep -q proxy {s.shared}/order")), failures=1000)
        written = fast(Exec(("grep", "-q", "app", f"{s.shared}/order")))
        noted = fast(Exec(("grep", "-q", "lasting", f"{s.shared}/order")), failures=1000)
        web = replace(
            pod("web", 20, replace(step("app", "exec sleep 1000"), readiness=written)),
            sidecar=replace(step("proxy", "exec sleep 1000"), startup=ready),
            init_containers=(
                step("first", f"test -e {s.shared}/again || {{ touch {s.shared}/again; exit 1; }}"),
                replace(step("lasting", "exec sleep 1000", lasts=True), startup=noted),
                step("second", "exit 0"),
            ),
        )
        await s.apply(web)
        status = await s.until(web, what=lambda status: isinstance(status.init_containers[0].state, Running))
        assert status.phase is Phase.PENDING
        (s.shared / "go").touch()
        status = await s.until(web)
        assert (s.shared / "order").read_text().split() == ["proxy", "first", "first", "lasting", "second", "app"]
        assert [each.restarts for each in status.init_containers] == [0, 1, 0, 0]


async def end_order() -> None:
    async with scene() as s:
        order = s.shared / "order"
        trap = "trap 'echo {0} >> {1}; exit 0' TERM; echo ready; while :; do sleep 0.02; done"
        web = replace(
            pod(
                "web",
                20,
                replace(_does(trap.format("app", order)), pre_stop=Exec(("/bin/sh", "-c", f"echo hook >> {order}"))),
            ),
            sidecar=_does(trap.format("proxy", order), "proxy"),
        )
        await s.apply(web)
        await s.until_logged(web, "ready")
        await s.until_logged(web, "ready", container="proxy")
        await s.apply()
        await s.until_gone(web)
        assert order.read_text().split() == ["hook", "app", "proxy"]


async def slow_end() -> None:
    async with scene() as s:
        end = f"while ! test -e {s.shared}/go; do sleep 0.02; done; exit 0"
        web = pod("web", 20, _does(f"trap '{end}' TERM; echo ready; while :; do sleep 0.02; done"))
        await s.apply(web)
        await s.until_logged(web, "ready")
        await s.until(web)
        await s.apply()
        status = await s.until(web, what=lambda status: status.terminating)
        assert status.ready
        (s.shared / "go").touch()
        await s.until_gone(web)


async def stubborn() -> None:
    web = replace(pod("web", 20, _does("trap '' TERM; echo ready; while :; do sleep 0.02; done")), grace_seconds=0.2)
    async with scene() as s:
        await s.apply(web)
        await s.until_logged(web, "ready")
        await s.apply()
        await s.until_gone(web)


async def no_leftovers() -> None:
    old = pod("old", 20, _does("setsid -f sleep 4711; echo ready; exec sleep 4711"))
    new = pod("new", 20, server())
    async with scene() as s:
        await s.apply(old)
        await s.until_logged(old, "ready")
        await s.apply()
        await s.until_gone(old)
        assert not runs("sleep 4711")
        await s.apply(new, pod("client", 21), service("web", 1, new))
        await s.until(new, pod("client", 21))
        assert [answer.split()[0] for answer in await s.get(pod("client", 21), "http://web/")] == ["new"]


async def replaced() -> None:
    web = pod("web", 20, _does("echo first; exec sleep 1000"))
    again = replace(web, uid="another", containers=(_does("echo second; exec sleep 1000"),))
    async with scene() as s:
        await s.apply(web)
        await s.until_logged(web, "first")
        await s.apply(again)
        await s.until_logged(web, "first\nsecond")


async def left_alone() -> None:
    web, other = pod("web", 20), pod("other", 21)
    async with scene() as s:
        await s.apply(web)
        before = app(await s.until(web))
        await s.apply(web, other)
        await s.until(other)
        await s.apply(replace(web, labels=(("version", "2"),)), service("web", 1, web))
        await s.until_gone(other)
        assert app(s.host.statuses[web.ref]) == before


class TestProbes:
    """Probes decide who is ready and who is restarted (Kubernetes: liveness, readiness, startup probes)."""

    def test_readiness_comes_and_goes(self) -> None:
        """An HTTP probe: 200 makes ready, 503 takes it away, and nothing is restarted."""
        in_sandbox("self", readiness)

    def test_a_container_that_does_not_live_is_restarted(self) -> None:
        in_sandbox("self", liveness)

    def test_nothing_is_asked_before_the_startup_probe_succeeds(self) -> None:
        """Without startup there is neither ready nor restart by liveness; one that never starts up is restarted."""
        in_sandbox("self", startup)

    def test_tcp_and_grpc(self) -> None:
        in_sandbox("self", tcp_and_grpc)


async def readiness() -> None:
    probe = fast(HttpGet(port=8080, path="/health"))
    web = pod("web", 20, replace(server(), readiness=probe))
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        await s.run(web, "touch", "/tmp/sick")
        await s.until(web, what=lambda status: not status.ready)
        await s.run(web, "rm", "/tmp/sick")
        status = await s.until(web)
        assert status.containers[0].restarts == 0


async def liveness() -> None:
    probe = fast(Exec(("/bin/sh", "-c", "! test -e /tmp/sick")))
    web = pod("web", 20, replace(SLEEPER, liveness=probe))
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        await s.run(web, "touch", "/tmp/sick")
        status = await s.until(web, what=lambda status: status.containers[0].restarts == 1 and status.ready)
        assert status.containers[0].last == Terminated(128 + signal.SIGTERM, "Error")


async def startup() -> None:
    no = fast(Exec(("/bin/false",)))
    slow = fast(Exec(("/bin/sh", "-c", "test -e /tmp/up")), failures=1000)
    web = pod("web", 20, replace(SLEEPER, startup=slow, liveness=no))
    never = pod("never", 21, replace(SLEEPER, startup=no))
    async with scene() as s:
        await s.apply(web, never)
        await s.until(never, what=lambda status: status.containers[0].restarts >= 1)
        await s.until(web, what=lambda status: isinstance(app(status), Running))
        status = s.host.statuses[web.ref].containers[0]
        assert (status.started, status.ready, status.restarts) == (False, False, 0)
        await s.run(web, "touch", "/tmp/up")
        await s.until(web, what=lambda status: status.containers[0].restarts >= 1)


HEALTH = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor
class Health(grpc.GenericRpcHandler):
    def service(self, call):
        assert call.method == "/grpc.health.v1.Health/Check"
        answer = {b"": b"\\x08\\x01", b"\\x0a\\x03web": b"\\x08\\x01"}
        return grpc.unary_unary_rpc_method_handler(lambda request, _: answer.get(request, b"\\x08\\x02"))
server = grpc.server(ThreadPoolExecutor(2), handlers=[Health()])
server.add_insecure_port("0.0.0.0:8080"); server.start(); server.wait_for_termination()
"""


async def tcp_and_grpc() -> None:
    def asked(action: TcpSocket | Grpc) -> ContainerOnHost:
        return ContainerOnHost(name="app", command=python(HEALTH), readiness=fast(action))

    good = [
        pod("tcp", 20, asked(TcpSocket(port=8080))),
        pod("all", 21, asked(Grpc(port=8080))),
        pod("web", 22, asked(Grpc(port=8080, service="web"))),
    ]
    bad = [
        pod("no-tcp", 30, asked(TcpSocket(port=8081))),
        pod("no-grpc", 31, asked(Grpc(port=8080, service="other"))),
    ]
    async with scene() as s:
        await s.apply(*good, *bad)
        await s.until(*good)
        assert not any(s.host.statuses[each.ref].ready for each in bad)


class TestExec:
    """`smeagol exec`: a command in a running Pod."""

    @as_every_user
    def test_exit_code_and_output_come_back(self, user: str) -> None:
        in_sandbox(user, exec_works)

    def test_what_does_not_run_is_said(self) -> None:
        """No such Pod, no such program: a message that says so."""
        in_sandbox("self", exec_fails)

    def test_it_ends_with_its_caller(self) -> None:
        in_sandbox("self", exec_abandoned)


async def exec_works() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        assert await s.run(web, "/bin/sh", "-c", "hostname; hostname >&2; exit 3") == (3, "web\nweb\n")
        assert await s.run(web, "/bin/sh", "-c", "kill -KILL $$") == (128 + signal.SIGKILL, "")


def test_exec_from_the_host() -> None:
    """Who started the sandbox reaches into it from outside, and so does root."""
    with folder_for_all() as folder, start(USERS[-1], "-c", RUN, folder=folder) as mesh:
        assert mesh.stdout is not None
        exec_socket = mesh.stdout.readline().split()[1]
        for user in USERS:
            with start(user, "-c", EXEC, exec_socket, "shop/web", "hostname") as caller:
                assert caller.communicate(timeout=60)[0] == "web\n"
        mesh.terminate()


async def exec_fails() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        _, output = await s.run(pod("nope", 21), "true")
        assert "Pod shop/nope is not here" in output
        _, output = await s.run(web, "no-such-program")
        assert "no-such-program: not found, or not executable" in output


async def exec_abandoned() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        caller = await s.start_exec(web, "sleep", "4711")
        await until(lambda: runs("sleep 4711"))
        caller.kill()
        await until(lambda: not runs("sleep 4711"))
        await caller.wait()


RUN = """
import asyncio, sys
from infra.test_host import busy
from smeagol.infra.host import sandbox
def main(sockets):
    asyncio.run(busy())
    return 0
sys.exit(sandbox.enter(main))
"""


async def busy() -> None:
    """A host in full swing, until it is told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    web = pod("web", 20, server())
    async with scene() as s:
        await s.apply(replace(web, redirect=True), service("web", 1, web))
        await s.until(web)
        print("ready", s.settings.exec_socket, flush=True)
        await stop.wait()
    print("stopped in order", flush=True)


async def killed_pod() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        _agent, holder = sorted(pid for pid, line in processes().items() if "infra.host.agent" in line)
        os.kill(holder, signal.SIGKILL)
        await s.until(web, what=lambda status: not status.ready)
        await s.apply()
        await s.until_gone(web)
        await s.apply(replace(web, uid="another"))
        await s.until(web)


async def impossible_pod() -> None:
    nothing, web = replace(pod("nothing", 20), containers=()), pod("web", 21)
    async with scene() as s:
        await s.apply(nothing, web)
        await s.until(web)
        status = await s.until(nothing, what=lambda status: status.message)
        assert "ValueError" in status.message
        await s.apply(web)
        await s.until_gone(nothing)
        assert s.host.statuses[web.ref].ready


async def agent_dies() -> None:
    with pytest.raises(AgentError, match="agent has ended"):
        await without_agent()


async def without_agent() -> None:
    web = pod("web", 20)
    async with scene() as s:
        await s.apply(web)
        await s.until(web)
        # The Pods' first processes, its children, have the same command line.
        os.kill(min(pid for pid, line in processes().items() if "infra.host.agent" in line), signal.SIGKILL)
        await asyncio.get_running_loop().create_future()


class TestEnd:
    """Nothing is left, however it ends."""

    @as_every_user
    def test_killed(self, user: str) -> None:
        """kill -9 of the caller: all processes end, the host's interfaces, mounts and rules are as before."""
        before = host_state()
        with folder_for_all() as folder, start(user, "-c", RUN, folder=folder) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline().startswith("ready ")
            family = family_of(caller.pid)
            assert len(family) >= 6, "keeper, init, worker, agent, the Pod and its container"
            caller.kill()
            assert all_gone(family, 60)
        assert host_state() == before

    def test_an_agent_that_dies_ends_the_host_in_sight(self) -> None:
        in_sandbox("self", agent_dies)

    def test_interrupted(self) -> None:
        """Ctrl-C: Pods end in order, then all the rest."""
        with start("self", "-c", RUN) as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline().startswith("ready ")
            family = family_of(caller.pid)
            caller.send_signal(signal.SIGINT)
            assert caller.stdout.read() == "stopped in order\n"
            assert caller.wait(60) == 0
            assert all_gone(family, 0)
