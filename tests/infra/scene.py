"""A host with Pods, for scenarios: short ways to say what should run, and to wait until it is so."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

from infra.pods import cluster_ip, pod_ip
from smeagol.infra.host import Host, HostSettings, NodeNetwork, has_ipv6
from smeagol.infra.host.desired import ContainerOnHost, Endpoint, Exec, PodSpecOnHost, Probe, ServiceOnHost, ServicePort
from smeagol.infra.host.status import PodStatus
from smeagol.refs import PodRef, ServiceRef

FAMILIES = (4, 6) if has_ipv6() else (4,)
NODE = NodeNetwork(
    ips=tuple(ip_address({4: "10.77.0.1", 6: "fd77::1"}[family]) for family in FAMILIES),
    extra_ips=tuple(cluster_ip(10, family) for family in FAMILIES),
    service_cidrs=tuple(ip_network({4: "10.96.0.0/16", 6: "fd96::/112"}[family]) for family in FAMILIES),
)

SERVER = """
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{socket.gethostname()} {self.client_address[0].removeprefix('::ffff:')}".encode()
        ok = self.path != "/health" or not os.path.exists("/tmp/sick")
        self.send_response(200 if ok else 503); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
server = Server(("", int(sys.argv[1])), Handler)
open("/tmp/listening", "w").close()
server.serve_forever()
"""


EXEC = """
import sys
from pathlib import Path
from smeagol.infra.host.exec import exec_in_pod
from smeagol.refs import PodRef
sys.exit(exec_in_pod(Path(sys.argv[1]), PodRef(*sys.argv[2].split("/")), sys.argv[3:]))
"""


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


SLEEPER = ContainerOnHost(name="app", command=shell("exec sleep 1000"))


def server(port: int = 8080) -> ContainerOnHost:
    """Answers every GET with its host name and the client's address; /health fails while /tmp/sick exists.

    Ready once it listens, also behind redirect rules.
    """
    listening = Probe(action=Exec(("test", "-e", "/tmp/listening")), period_seconds=0.05, timeout_seconds=5)
    return ContainerOnHost(name="app", command=python(SERVER, str(port)), readiness=listening)


def pod(name: str, number: int, *containers: ContainerOnHost) -> PodSpecOnHost:
    """A Pod of the namespace `shop`; `dataclasses.replace` gives it more."""
    return PodSpecOnHost(
        ref=PodRef("shop", name),
        uid=f"uid-{name}",
        ips=tuple(pod_ip(number, family) for family in FAMILIES),
        hostname=name,
        containers=containers or (SLEEPER,),
        grace_seconds=30,
    )


def service(name: str, number: int, *pods: PodSpecOnHost, port: int = 80, headless: bool = False) -> ServiceOnHost:
    return ServiceOnHost(
        ref=ServiceRef("shop", name),
        cluster_ips=() if headless else tuple(cluster_ip(number, family) for family in FAMILIES),
        ports=(
            ServicePort(port=port, name="http", endpoints=tuple(Endpoint(ip, 8080) for pod in pods for ip in pod.ips)),
        ),
    )


def processes() -> dict[int, str]:
    """The command lines of all processes in the sandbox."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace").replace("\0", " ").strip()
    return found


def runs(command: str) -> bool:
    """Whether a process with this command line is anywhere in the sandbox."""
    return command in processes().values()


PATIENCE_SECONDS = 60
"""For whatever is waited for: a machine may be slow, or busy with something else."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


class Scene:
    """A running host, and the state that it was last told."""

    def __init__(self, host: Host, settings: HostSettings, shared: Path) -> None:
        self.host = host
        self.settings = settings
        self.shared = shared
        """a folder that Pods see"""
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        async for _ in self.host.changes():
            async with self._news:
                self._news.notify_all()

    async def apply(self, *things: PodSpecOnHost | ServiceOnHost) -> None:
        await self.host.apply(
            {each.ref: each for each in things if isinstance(each, PodSpecOnHost)},
            {each.ref: each for each in things if isinstance(each, ServiceOnHost)},
        )

    async def until(
        self, *pods: PodSpecOnHost, what: Callable[[PodStatus], object] = lambda status: status.ready
    ) -> PodStatus:
        """Wait until this is true of these Pods; returns the last one's status."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._news:
                await self._news.wait_for(
                    lambda: all((s := self.host.statuses.get(pod.ref)) is not None and what(s) for pod in pods)
                )
        except TimeoutError:
            raise AssertionError(self.host.statuses) from None
        return self.host.statuses[pods[-1].ref]

    async def until_gone(self, pod: PodSpecOnHost) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: pod.ref not in self.host.statuses)

    def log(self, pod: PodSpecOnHost, container: str = "app") -> str:
        path = self.settings.log_of(str(pod.ref), container)
        return path.read_text() if path.exists() else ""

    async def until_logged(self, pod: PodSpecOnHost, *texts: str, container: str = "app") -> None:
        """Wait until a container has written all of these."""
        try:
            await until(lambda: all(text in self.log(pod, container) for text in texts))
        except TimeoutError:
            raise AssertionError((self.log(pod, container), self.host.statuses)) from None

    async def run(self, pod: PodSpecOnHost, *command: str) -> tuple[int, str]:
        """Run a command in a Pod by the way of `smeagol exec`; its exit code and output."""
        process = await self.start_exec(pod, *command)
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def start_exec(self, pod: PodSpecOnHost, *command: str) -> asyncio.subprocess.Process:
        socket = self.settings.exec_socket
        assert socket is not None
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            EXEC,
            str(socket),
            str(pod.ref),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def get(self, client: PodSpecOnHost, *urls: str) -> list[str]:
        """What the Pod gets from each URL: the body, or the name of the error."""
        code = (
            "import sys, urllib.request, urllib.error\n"
            "for url in sys.argv[1:]:\n"
            "    try: print(urllib.request.urlopen(url, timeout=30).read().decode())\n"
            "    except urllib.error.URLError as e: print(type(e.reason).__name__)\n"
        )
        status, output = await self.run(client, *python(code, *urls))
        assert status == 0, output
        return output.splitlines()


@asynccontextmanager
async def scene(*, backoff_seconds: float = 0.05) -> AsyncIterator[Scene]:
    """A host in this sandbox, with a folder of its own for logs and its socket."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "shared"
        hidden = shared / "hidden"
        hidden.mkdir(parents=True)
        (hidden / "key").touch()
        settings = HostSettings(
            node=NODE,
            logs=Path(folder) / "logs",
            exec_socket=Path(folder) / "exec.sock",
            seen=(Path(sys.prefix), Path(sys.base_prefix), shared),
            hidden=(hidden,),
            backoff_seconds=backoff_seconds,
            stop_seconds=2,
        )
        async with Host(settings) as host:
            made = Scene(host, settings, shared)
            following = asyncio.create_task(made.follow())
            try:
                yield made
            finally:
                following.cancel()
