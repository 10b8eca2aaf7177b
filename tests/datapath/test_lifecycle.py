"""`smeagol up` from its start to its end, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.admin import ADMIN_SEEKER
from datapath.harness import Mesh, eventually, lagging, running, smeagol
from datapath.manifests import Manifest, deployment, mutual_tls, pod, service, sidecar
from smeagol.control import Status

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-lifecycle")]

OBJECTS: tuple[Manifest, ...] = (
    pod("web", "http:8080"),
    service("web"),
    pod("client"),
    mutual_tls(),
)
WRONG_TYPE = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: 7}\n"


def is_served(mesh: Mesh) -> None:
    answer = mesh.app("client").get("http://web/")
    assert answer.identity == "spiffe://cluster.local/ns/default/sa/default"


def descendants(pid: int) -> set[tuple[int, str]]:
    """All processes that a process has started, as (pid, start time)."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            parents[int(folder.name)] = int(fields[1]), fields[19]
    found: set[tuple[int, str]] = set()
    generation = {pid}
    while generation:
        generation = {child for child, (parent, _) in parents.items() if parent in generation}
        found |= {(child, parents[child][1]) for child in generation}
    return found


def still_there(processes: set[tuple[int, str]]) -> set[int]:
    return {pid for pid, start in processes if start_of(pid) == start}


def start_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def interfaces() -> set[str]:
    """Those of the host; a development cluster (`smeagol0` …) may come and go beside us."""
    names = (line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])
    return {name for name in names if not re.fullmatch(r"smeagol\d+", name)}


def test_only_the_proxy_takes_orders_for_the_proxy() -> None:
    """What runs beside a proxy cannot reach its admin interface; who runs the mesh can (`smeagol proxy stats`)."""
    with running(*OBJECTS) as mesh:
        found = mesh.exec("client", sys.executable, "-c", ADMIN_SEEKER)
        assert found.code == 0, found.errors
        assert found.text.split() == ["15021", "404", "15090", "404"]
        stats = [
            *smeagol("proxy", "stats", "client", "--filter", "^server.live$"),
            "--state-dir",
            str(mesh.state.parent),
        ]
        said = subprocess.run(stats, capture_output=True, text=True, timeout=60)
        assert said.stdout == "server.live: 1\n", said.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(number: signal.Signals) -> None:
    """Neither processes nor interfaces, after Ctrl-C and after kill -9; and its folder can be used again at once."""
    before = interfaces()
    with running(*OBJECTS) as mesh:
        is_served(mesh)
        assert interfaces() == before
        roots, processes = mesh.roots(), descendants(mesh.pid)
        assert len(processes) > len(OBJECTS)
        code = mesh.stop(number)
        assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        eventually(lambda: assert_gone(processes))
        assert interfaces() == before
        mesh.start()
        mesh.wait_for(lambda s: lagging(s) if len([p for p in s.pods if p.ready]) == 2 else "its Pods")
        mesh.forget_apps()
        is_served(mesh)
        assert mesh.roots() == roots, "keys last"


def assert_gone(processes: set[tuple[int, str]]) -> None:
    assert not still_there(processes)


def test_two_meshes_at_once() -> None:
    """Each has a network of its own, with the same addresses."""
    with running(*OBJECTS) as one, running(*OBJECTS) as two:
        assert one.ips("web") == two.ips("web")
        is_served(one)
        is_served(two)
        assert one.roots() != two.roots()
        assert one.app("web").seen().requests == 1


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with running(*OBJECTS, deployment("rolled", labels={"rolled": "yes"}), service("rolled")) as mesh:
        yield mesh


def test_empty_folder_is_told() -> None:
    """It may be the wrong one; manifests may also come later."""
    with running() as empty:

        def is_told() -> None:
            assert "folder has no manifests" in empty.said()

        eventually(is_told)
        empty.apply(service("web"))


def test_folder_in_use_is_refused(mesh: Mesh) -> None:
    """A second one of that name says so, and does no harm to the first."""
    command = [*smeagol("up"), "-f", str(mesh.folder), "--state-dir", str(mesh.state.parent)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert second.returncode not in (0, -signal.SIGKILL)
    assert "SMI-R002" in second.stderr
    is_served(mesh)


@pytest.mark.parametrize("text", ["kind: [", "", "\x00\xff", "kind: Pod", WRONG_TYPE])
def test_broken_edit_loses_nothing(mesh: Mesh, text: str) -> None:
    """A file that cannot be understood leaves what was there before, and the problem is told with its place."""
    path = mesh.folder / "pod.default.web.yaml"
    good, before = path.read_text(), mesh.pod("web")
    try:
        mesh.write(path.name, text)
        status = mesh.wait_for(lambda status: "" if status.problems else "the problem")
        assert path.name in status.problems[0].where
        is_served(mesh)
        assert mesh.pod("web") == before
    finally:
        mesh.write(path.name, good)
        mesh.wait_for(lambda status: "no problem" if status.problems else "")
    assert mesh.pod("web") == before


def test_pod_that_waits_says_why(mesh: Mesh) -> None:
    """An image alone is answered where the mesh was started, not only by `smeagol status`; the others go on."""
    image = pod("image", "http:8080")
    image["spec"]["containers"] = [{"name": "app", "image": "nginx:1.27"}]

    def is_answered() -> None:
        assert "app: NoCommand: the container has an image (nginx:1.27)" in mesh.said()
        assert "SMI-H005" in mesh.said()

    mesh.apply(image, wait=False)
    try:
        eventually(is_answered)
        is_served(mesh)
    finally:
        mesh.delete(image)


def test_edit_takes_effect(mesh: Mesh) -> None:
    """Another template: new Pods take the place of the old; another port of the Service: it is dialled there."""
    old = {p.name for p in mesh.pods_of("rolled")}
    mesh.apply(deployment("rolled", "http:8080", labels={"rolled": "yes"}, version="second"))
    mesh.wait_for(lambda status: "old Pods" if old & {p.name for p in status.pods} else "")
    assert mesh.app("client").get("http://rolled/").version == "second"
    mesh.apply(service("rolled", ports=[("http", 8888, 8080)]))
    assert mesh.app("client").get("http://rolled:8888/").version == "second"
    mesh.delete(service("rolled"))
    mesh.apply(service("rolled"))
    assert mesh.app("client").get("http://rolled/").version == "second"


def test_pod_restarts_its_application(mesh: Mesh) -> None:
    """As the kubelet does."""
    mesh.app("web").die()

    def restarted(status: Status) -> str:
        found = any(p.name == "web" and p.restarts == 1 and p.ready for p in status.pods)
        return lagging(status) if found else "a restart"

    mesh.wait_for(restarted)
    mesh.forget_apps()
    is_served(mesh)


def test_proxies_where_they_are_asked_for() -> None:
    """SMI-POD-01, SMI-POD-02, SMI-POD-05, SMI-POD-09: decided when a Pod is made; one that runs is left alone."""
    asked = pod("asked", "http:8080", labels={"smi-spec.io/inject": "enabled"})
    selected = pod("selected", "http:8080", labels={"team": "blue"})
    refused = pod("refused", labels={"team": "blue"}, meshed=False)
    with running(asked, pod("plain"), options=["--inject", "labelled"]) as mesh:
        assert {p.name for p in mesh.status().pods if p.proxy is not None} == {"asked"}
        mesh.apply(mutual_tls("blue", {"team": "blue"}), selected, refused)
        mesh.apply(sidecar("blue", {"team": "blue"}))
        assert {p.name for p in mesh.status().pods if p.proxy is not None} == {"asked", "selected"}
        before = mesh.pod("plain")
        mesh.apply(mutual_tls("all"), wait=False)
        mesh.wait_for(lambda status: "" if any(o.name == "all" for o in status.objects) else "it to be read")
        mesh.wait_for(
            lambda _: (
                "" if mesh.condition("Programmed", "MutualTLS", "all").reason == "PodsNotInjected" else "the reason"
            )
        )
        assert "plain" in mesh.condition("Programmed", "MutualTLS", "all").message
        assert mesh.pod("plain") == before


@pytest.mark.skipif(os.getuid() != 0, reason="all other tests are run by an ordinary user already")
def test_ordinary_user() -> None:
    """No root needed: the same mesh, by a user with no rights at all."""
    with running(*OBJECTS, user="nobody") as mesh:
        is_served(mesh)
        processes = descendants(mesh.pid)
        assert {uid_of(pid) for pid, _ in processes} - {None} == {65534}


def uid_of(pid: int) -> int | None:
    """Whose process it is; None of one that has ended."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None
