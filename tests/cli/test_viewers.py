"""The commands that look into a running mesh: they find it, ask it over its socket, and print what it says.

`FakeMesh` stands in for the far end of the control socket, with answers as a mesh writes them; that the real one writes
them so is shown where it runs (`tests/examples`).
"""

from __future__ import annotations

import json
import re
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest
import yaml

from smeagol.cli import main
from smeagol.cli.describe import describe_text, described
from smeagol.cli.edges import edges_text
from smeagol.cli.logs import log_file
from smeagol.cli.meshes import NotFoundError, ago, pod_named, table
from smeagol.cli.status import status_text, within
from smeagol.cli.top import top_text
from smeagol.client import LogTail, Mesh, MeshNotFoundError, running_meshes
from smeagol.control import Edge, Status, Traffic
from smeagol.rates import measured

NOW = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
SPIFFE = "spiffe://cluster.local/ns/shop/sa/default"

STATUS = """{
  "mesh": {"name": "one", "directory": "/srv/shop", "startedAt": "2024-05-01T11:58:20+00:00",
           "metricsURL": "http://127.0.0.1:9090/metrics", "someday": "more"},
  "problems": [{"where": "web.yaml:3, Canary shop/web, spec.service", "message": "the root is a backend",
                "code": "SMI-C002", "fix": "Name the versioned Services"},
               {"where": "ConfigMap shop/web", "message": "not carried out"}],
  "objects": [
    {"kind": "Canary", "namespace": "shop", "name": "web", "generation": 3, "age": "2024-05-01T11:00:00+00:00",
     "summary": "web-v1 66.7%", "spec": {"service": "web", "backends": [{"service": "web-v1", "weight": "1"}]},
     "services": ["shop/web", "shop/web-v1", "shop/web-v2"],
     "status": {"observedGeneration": 2, "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted"},
        {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "web-v2 is missing.",
         "lastTransitionTime": "2024-05-01T11:59:00+00:00"},
        {"type": "Programmed", "status": "True", "reason": "Programmed"}]}},
    {"kind": "MutualTLS", "namespace": "shop", "name": "all", "generation": 1, "pods": ["shop/web-v1-x"]}],
  "pods": [
    {"namespace": "shop", "name": "web-v1-x", "workload": "web-v1", "labels": {"app": "web"}, "ips": ["10.0.0.1"],
     "phase": "Running", "ready": true, "restarts": 0, "proxy": {"connected": true, "synced": true},
     "mutualTLS": "Strict", "clientNames": ["web.example", "SPIFFE"], "serverNames": ["10.0.0.1", "web"]},
    {"namespace": "shop", "name": "cart", "workload": "cart", "phase": "Running", "ready": false, "restarts": 4,
     "message": "exit code 1", "proxy": {"connected": true, "synced": false, "rejected": [
        {"typeUrl": "t", "names": ["web:80"], "message": "no such filter"}]}},
    {"namespace": "other", "name": "cart", "workload": "cart", "phase": "Running", "ready": true, "proxy": null}],
  "services": [
    {"namespace": "shop", "name": "web", "clusterIPs": ["10.96.0.1"], "canary": "shop/web",
     "ports": [{"port": 80, "name": "http", "protocol": "http", "endpoints": 1}]},
    {"namespace": "shop", "name": "web-v1", "ports": [{"port": 80, "endpoints": 1}]}],
  "events": [{"time": "2024-05-01T11:59:30+00:00", "type": "Warning", "reason": "BackendNotFound",
              "message": "web-v2 is missing.", "object": "Canary shop/web"}]
}""".replace("SPIFFE", SPIFFE)

EDGE = '"namespace": "shop", "pod": "cart", "direction": "outbound", "service": "shop/web", "backend": "shop/web-v1"'
TRAFFIC = """{"time": %d,
  "requests": [{EDGE, "code": "200", "count": %d}, {EDGE, "code": "503", "count": 1},
               {"namespace": "shop", "pod": "web-v1-x", "direction": "inbound", "code": "200", "count": %d}],
  "latency": [{EDGE, "buckets": [[0.001, 0], [0.01, %d], [null, %d]], "sum": 1.5, "count": %d}],
  "edges": [{"client": "shop/cart", "service": "shop/web", "backend": "shop/web-v1", "mutualTLS": true,
             "clientNames": ["cart.example"], "requests": %d}]}"""


def traffic(time: int, count: int) -> str:
    return (TRAFFIC % (time, *(count,) * 6)).replace("EDGE", EDGE)


@pytest.fixture
def status() -> Status:
    return msgspec.json.decode(STATUS, type=Status)


class FakeMesh:
    """Answers like the control socket of a mesh called `name`."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, str] = {"GET /v1/status": STATUS, "POST /v1/restart": "{}"}
        self.looks = 0
        self.folder = state_dir / name
        self.folder.mkdir()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", 0))
                outer.asked.append(f"{self.command} {self.path} {self.rfile.read(length).decode()}".strip())
                answer = outer.answer(f"{self.command} {self.path}")
                self.send_response(404 if answer is None else 200)
                body = ('{"message": "there is nothing here"}' if answer is None else answer).encode()
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - http.server's own name

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
                pass

        self._server = socketserver.ThreadingUnixStreamServer(str(self.folder / "smeagol.sock"), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, question: str) -> str | None:
        if question == "GET /v1/traffic":
            self.looks += 1
            return traffic(100 + 2 * self.looks, 10 * self.looks)
        return self.answers.get(question)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Short, because a unix socket's path is: pytest's own folders can be too long."""
    folder = Path(tempfile.mkdtemp(prefix="sme-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(state_dir: Path) -> Iterator[Callable[[str], FakeMesh]]:
    meshes: list[FakeMesh] = []

    def started(name: str) -> FakeMesh:
        meshes.append(FakeMesh(state_dir, name))
        return meshes[-1]

    yield started
    for mesh in meshes:
        mesh.stop()


@pytest.fixture
def smeagol(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the meshes of this test: exit code, standard output, standard error."""

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        words = [*command.split(), "--state-dir", str(state_dir), *arguments]
        monkeypatch.setattr("sys.argv", ["smeagol", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


Run = Callable[..., tuple[int, str, str]]
Start = Callable[[str], FakeMesh]


class TestFinding:
    def test_without_a_mesh_it_says_how_to_start_one(self, smeagol: Run) -> None:
        code, out, err = smeagol("status")
        assert (code, out) == (1, "")
        assert "no mesh is running" in err
        assert "smeagol up -f DIR" in err

    def test_the_only_mesh_needs_no_name(self, smeagol: Run, start: Start) -> None:
        start("one")
        assert smeagol("status")[0] == 0

    def test_one_of_several_must_be_named(self, smeagol: Run, start: Start) -> None:
        start("one")
        start("two")
        code, _, err = smeagol("status")
        assert code == 1
        assert "one, two" in err
        assert smeagol("status", "--name", "two")[0] == 0

    def test_another_name_lists_what_runs(self, smeagol: Run, start: Start) -> None:
        start("one")
        code, _, err = smeagol("status", "--name", "three")
        assert code == 1
        assert "Running: one" in err

    def test_a_socket_left_behind_is_no_mesh(self, state_dir: Path, start: Start) -> None:
        """After kill -9 the file is still there; nobody answers."""
        left = start("left")
        left.stop()
        assert (left.folder / "smeagol.sock").exists()
        assert running_meshes(state_dir) == ()
        with pytest.raises(MeshNotFoundError):
            Mesh.find("left", state_dir)

    def test_an_answer_that_cannot_be_read_is_an_error_not_a_traceback(self, smeagol: Run, start: Start) -> None:
        start("one").answers["GET /v1/status"] = '{"pods": 3}'
        code, _, err = smeagol("status")
        assert code == 1
        assert "SMI-U003" in err

    def test_wrong_usage_is_exit_code_2(self, smeagol: Run) -> None:
        assert smeagol("status", "--output", "xml")[0] == 2
        assert smeagol("describe planet mars")[0] == 2
        assert smeagol("restart web")[0] == 2


class TestStatus:
    def test_shows_problems_objects_pods_and_services(self, status: Status) -> None:
        lines = status_text(status, now=NOW)
        assert lines[0] == "mesh one, up 1m40s: /srv/shop"
        text = "\n".join(lines)
        assert (
            "web.yaml:3, Canary shop/web, spec.service: the root is a backend. Name the versioned Services. [SMI-C002]"
            in text
        )
        assert "ConfigMap shop/web: not carried out." in lines
        rows = [line.split() for line in lines]
        assert ["Canary", "shop", "web", "yes", "BackendNotFound", "yes", "1h0m", "web-v1", "66.7%"] in rows
        assert ["shop", "web-v1-x", "yes", "0", "synced", "Strict", "web.example"] in rows
        assert ["shop", "cart", "no", "(Running)", "4", "1", "rejected", "-", "-"] in rows
        assert ["other", "cart", "yes", "0", "none", "-", "-"] in rows
        assert ["shop", "web", "10.96.0.1", "80/http", "1", "shop/web"] in rows
        assert lines[-2:] == ["NOT READY", "shop/cart: exit code 1"]

    def test_one_namespace_alone(self, status: Status) -> None:
        text = "\n".join(status_text(within(status, "other"), now=NOW))
        assert "other" in text
        assert "web-v1-x" not in text

    def test_fits_a_terminal_and_says_the_same(self, status: Status) -> None:
        lines, whole = status_text(status, now=NOW, width=60), status_text(status, now=NOW)
        tables = lines.index("KIND       NAMESPACE  NAME  ACCEPTED  RESOLVED         PROGRAMMED  AGE")
        assert max(map(len, lines[tables:])) <= 72
        assert [word for word in " ".join(lines).split() if word != "-"] == [
            word for word in " ".join(whole).split() if word != "-"
        ]

    def test_an_empty_mesh_has_no_tables(self) -> None:
        empty = msgspec.json.decode('{"mesh": {"name": "one", "directory": "/srv"}}', type=Status)
        assert status_text(empty, now=NOW) == ["mesh one: /srv"]

    @pytest.mark.parametrize("output", ["json", "yaml"])
    def test_prints_for_programs_with_the_names_of_the_wire(self, smeagol: Run, start: Start, output: str) -> None:
        start("one")
        code, out, _ = smeagol("status", "-o", output)
        assert code == 0
        assert "observedGeneration" in out
        assert "mutualTLS" in out
        if output == "json":
            assert json.loads(out)["objects"][0]["spec"]["service"] == "web"


class TestRoots:
    """`smeagol ca status`."""

    def test_says_who_is_waited_for(self, smeagol: Run, start: Start) -> None:
        """While a root is replaced; the phase is explained."""
        roots = {
            "phase": "introducing",
            "since": "2026-06-01T12:00:00+00:00",
            "trusted": [
                {"id": "aa", "expires": "2030-01-01T00:00:00+00:00", "signs": True},
                {"id": "bb", "expires": "2040-01-01T00:00:00+00:00"},
            ],
            "waitingFor": ["shop/web-1"],
            "moreWaiting": 2,
        }
        start("one").answers["GET /v1/status"] = json.dumps(json.loads(STATUS) | {"roots": roots})
        code, out, _ = smeagol("ca status")
        assert code == 0
        assert "both roots are trusted, the old one still signs" in out
        assert [line.split()[:2] for line in out.splitlines()[3:5]] == [["aa", "yes"], ["bb", "no"]]
        assert "Not yet acknowledged by shop/web-1 and 2 more" in out

    def test_an_older_control_plane_is_no_fault(self, smeagol: Run, start: Start) -> None:
        """It says nothing of its roots."""
        start("one")
        code, out, _ = smeagol("ca status")
        assert code == 0
        assert "does not say" in out


class TestDescribe:
    def test_a_canary_with_all_that_belongs_to_it(self, status: Status) -> None:
        text = "\n".join(describe_text(described(status, "Canary", "web"), now=NOW))
        assert text.startswith("Canary shop/web\n")
        assert "generation 3, 2 has been seen" in text
        assert "weight: '1'" in text
        assert "BackendNotFound   1m0s    web-v2 is missing." in text
        assert "shop        web-v2    does not exist" in text
        assert "[SMI-C002]" in text
        assert "30s   Warning" in text

    def test_a_mutual_tls_with_its_pods(self, status: Status) -> None:
        lines = describe_text(described(status, "MutualTLS", "all"), now=NOW)
        assert ["shop", "web-v1-x", "yes", "synced", "Strict"] in [line.split() for line in lines]

    def test_a_pod_with_its_names_and_what_its_proxy_refused(self, status: Status) -> None:
        text = "\n".join(describe_text(described(status, "Pod", "web-v1-x"), now=NOW))
        assert SPIFFE in text
        refused = describe_text(described(status, "Pod", "cart", "shop"), now=NOW)
        assert "  rejected      web:80: no such filter" in refused

    def test_a_deployment_is_its_pods(self, status: Status) -> None:
        lines = describe_text(described(status, "Deployment", "web-v1"), now=NOW)
        assert lines[0] == "Deployment shop/web-v1"
        assert "web-v1-x" in lines[-1]

    def test_a_service_with_its_endpoints(self, status: Status) -> None:
        lines = describe_text(described(status, "Service", "web"), now=NOW)
        assert lines[-1].split() == ["80", "http", "http", "1"]

    def test_a_name_in_two_namespaces_must_be_told_apart(self, status: Status) -> None:
        with pytest.raises(NotFoundError, match="other, shop"):
            described(status, "Pod", "cart")
        assert describe_text(described(status, "Pod", "cart", "other"), now=NOW)[0] == "Pod other/cart"

    def test_a_missing_object_lists_what_there_is(self, status: Status) -> None:
        with pytest.raises(NotFoundError, match="There are: shop/web"):
            described(status, "Canary", "wob")

    def test_kinds_go_by_their_short_names(self, smeagol: Run, start: Start) -> None:
        start("one")
        for kind in ("mtls", "MutualTLS", "mutualtls"):
            assert smeagol(f"describe {kind} all")[1].startswith("MutualTLS shop/all")


class TestTop:
    def test_shows_rates_of_workloads_and_edges(self, status: Status) -> None:
        growth = msgspec.json.decode(traffic(2, 19), type=Traffic)
        rows = [line.split() for line in top_text(measured(growth, status))]
        assert ["shop/web-v1", "9.5", "100.00%", "-", "-", "-"] in rows
        assert ["shop/cart", "shop/web", "shop/web-v1", "yes", "10.0", "95.00%", "5.5ms", "9.6ms", "9.9ms"] in rows

    def test_fits_a_terminal(self, status: Status) -> None:
        """Services of the client's namespace go by their names alone."""
        growth = msgspec.json.decode(traffic(2, 19), type=Traffic)
        lines = top_text(measured(growth, status), width=80)
        assert max(map(len, lines)) <= 80
        assert lines[-1].split()[:4] == ["shop/cart", "web", "web-v1", "yes"]

    def test_one_namespace_alone(self, status: Status) -> None:
        growth = msgspec.json.decode(traffic(2, 19), type=Traffic)
        assert not any("shop/" in line for line in top_text(measured(growth, status, "other")))

    def test_measures_once_where_nobody_watches(self, smeagol: Run, start: Start) -> None:
        mesh = start("one")
        code, out, _ = smeagol("top", "--seconds", "0.5")
        assert (code, mesh.looks) == (0, 2)
        assert ["shop/web-v1", "5.0", "100.00%", "-", "-", "-"] in [line.split() for line in out.splitlines()]

    def test_edges_say_who_calls_under_which_names(self) -> None:
        found = msgspec.json.decode(traffic(2, 19), type=Traffic)
        assert edges_text(found.edges)[1].split() == [
            "shop/cart",
            "shop/web",
            "shop/web-v1",
            "yes",
            "19",
            "cart.example",
        ]

    def test_edges_of_ports_that_are_not_http(self) -> None:
        """They have connections and no requests; one Service may have both."""
        edge = Edge(client="shop/cart", service="shop/ledger", backend="shop/ledger", connections=288)
        mixed = msgspec.structs.replace(edge, requests=5)
        assert [re.split(" {2,}", line)[-2] for line in edges_text((edge, mixed))[1:]] == [
            "288 connections",
            "5, 288 connections",
        ]


class TestForPrograms:
    """`-o json` and `-o yaml`: standard output has nothing else."""

    PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()

    @pytest.mark.parametrize(
        "command",
        [
            "status",
            "describe canary web",
            "describe mutualtls all",
            "describe pod web-v1-x",
            "describe service web",
            "describe deployment web-v1",
            "top --seconds 0.5",
            "edges",
            "ca status",
        ],
    )
    def test_the_keys_are_those_that_the_page_tells(self, smeagol: Run, start: Start, command: str) -> None:
        """In this order."""
        start("one")
        code, out, _ = smeagol(command, "-o", "json")
        assert code == 0
        found = json.loads(out)
        name = " ".join(command.split()[: 2 if command.startswith("ca") else 1])
        row = next(line for line in self.PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert list(found[0] if isinstance(found, list) else found) == re.findall(r"`(\w+)`", row.split("|")[2])

    def test_describe_has_what_stands_behind_an_object(self, smeagol: Run, start: Start) -> None:
        start("one")
        found = json.loads(smeagol("describe canary web", "-o", "json")[1])
        assert yaml.safe_load(smeagol("describe canary web", "-o", "yaml")[1]) == found
        assert (found["kind"], found["namespace"], found["name"]) == ("Canary", "shop", "web")
        assert found["object"]["status"]["conditions"][1]["reason"] == "BackendNotFound"
        assert [service["name"] for service in found["services"]] == ["web", "web-v1"]
        assert [problem["code"] for problem in found["problems"]] == ["SMI-C002"]
        assert [event["reason"] for event in found["events"]] == ["BackendNotFound"]
        owner = json.loads(smeagol("describe deployment web-v1", "-o", "json")[1])
        assert (owner["object"], [pod["name"] for pod in owner["pods"]]) == (None, ["web-v1-x"])

    def test_top_measures_once(self, smeagol: Run, start: Start) -> None:
        """With the numbers of the tables; what there is nothing to tell from is null."""
        mesh = start("one")
        found = json.loads(smeagol("top", "--seconds", "0.5", "-o", "json")[1])
        assert mesh.looks == 2
        assert found["seconds"] == 2
        assert found["workloads"] == [
            {
                "workload": "shop/web-v1",
                "requestsPerSecond": 5.0,
                "success": 1.0,
                "p50Seconds": None,
                "p95Seconds": None,
                "p99Seconds": None,
            }
        ]
        (edge,) = found["edges"]
        assert (edge["client"], edge["service"], edge["backend"]) == ("shop/cart", "shop/web", "shop/web-v1")
        assert edge["mutualTLS"] is True
        assert edge["p50Seconds"] == pytest.approx(0.0055)

    @pytest.mark.parametrize("command", ["status", "edges", "top --seconds 0.5"])
    def test_one_namespace_alone(self, smeagol: Run, start: Start, command: str) -> None:
        start("one")
        found = json.loads(smeagol(command, "-n", "nowhere", "-o", "json")[1])
        listed = (
            found if isinstance(found, list) else [each for key in ("pods", "workloads") for each in found.get(key, ())]
        )
        assert listed == []

    def test_what_is_not_there_is_said_on_standard_error(self, smeagol: Run, start: Start) -> None:
        start("one")
        code, out, err = smeagol("describe canary wob", "-o", "json")
        assert (code, out) == (1, "")
        assert "SMI-U004" in err


class TestPodNamed:
    @pytest.mark.parametrize("text", ["web-v1-x", "shop/web-v1-x", "web-v1", "deployment/web-v1", "shop/web-v1"])
    def test_by_name_or_by_workload(self, status: Status, text: str) -> None:
        assert pod_named(status, text).name == "web-v1-x"

    def test_two_of_a_name_must_be_told_apart(self, status: Status) -> None:
        with pytest.raises(NotFoundError, match="other, shop"):
            pod_named(status, "cart")
        assert pod_named(status, "other/cart").namespace == "other"
        assert pod_named(status, "cart", "shop").namespace == "shop"

    def test_an_unknown_one_lists_the_pods(self, status: Status) -> None:
        with pytest.raises(NotFoundError, match="other/cart"):
            pod_named(status, "wob")


class TestProxy:
    def test_config_of_one_type(self, smeagol: Run, start: Start) -> None:
        mesh = start("one")
        mesh.answers["GET /v1/proxies/shop/web-v1-x/config?type=routes"] = '{"routes": {"web:80": {}}}'
        assert smeagol("proxy config web-v1", "--type", "routes")[1] == "routes:\n  web:80: {}\n"
        out = smeagol("proxy config web-v1", "--type", "routes", "-o", "json")[1]
        assert json.loads(out) == {"routes": {"web:80": {}}}

    def test_stats_of_a_pod_without_a_proxy(self, smeagol: Run, start: Start) -> None:
        start("one")
        assert "Pod other/cart has no proxy" in smeagol("proxy stats other/cart")[2]

    def test_what_the_mesh_refuses_is_said(self, smeagol: Run, start: Start) -> None:
        start("one")
        code, _, err = smeagol("proxy config web-v1")
        assert code == 1
        assert "there is nothing here" in err


class TestRestart:
    def test_asks_the_mesh(self, smeagol: Run, start: Start) -> None:
        mesh = start("one")
        assert smeagol("restart deployment/web-v1", "-n", "shop")[0] == 0
        method, path, body = mesh.asked[-1].split(" ", 2)
        assert (method, path) == ("POST", "/v1/restart")
        assert json.loads(body) == {"namespace": "shop", "kind": "Deployment", "name": "web-v1"}


class TestLogs:
    def test_prints_the_application_not_the_proxy(self, smeagol: Run, start: Start) -> None:
        folder = start("one").folder / "logs" / "shop_web-v1-x"
        folder.mkdir(parents=True)
        (folder / "web.log").write_text("hello\n")
        (folder / "smeagol-proxy.log").write_text("envoy\n")
        assert smeagol("logs web-v1") == (0, "hello\n", "")
        assert smeagol("logs web-v1", "-c", "smeagol-proxy")[1] == "envoy\n"

    def test_one_of_several_containers_must_be_named(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / f"{name}.log").touch()
        with pytest.raises(NotFoundError, match="-c: a, b"):
            log_file(tmp_path, "")
        with pytest.raises(NotFoundError, match="There are: a, b"):
            log_file(tmp_path, "c")
        assert log_file(tmp_path, "b").name == "b.log"

    def test_a_pod_that_has_not_started_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="not started yet"):
            log_file(tmp_path / "none", "")


class TestLogTail:
    def test_gives_whole_lines_once(self, tmp_path: Path) -> None:
        log = tmp_path / "a.log"
        tail = LogTail(log)
        assert tail.lines() == []
        log.write_text("one\ntw")
        assert tail.lines() == ["one"]
        with log.open("a") as file:
            file.write("o\nthree\n")
        assert tail.lines() == ["two", "three"]
        assert tail.lines() == []

    def test_loses_nothing_when_a_full_file_is_replaced(self, tmp_path: Path) -> None:
        log = tmp_path / "a.log"
        tail = LogTail(log)
        log.write_text("one\n")
        assert tail.lines() == ["one"]
        with log.open("a") as file:
            file.write("two\n")
        log.rename(tmp_path / "a.log.1")
        log.write_text("three\n")
        assert tail.lines() == ["two", "three"]


class TestWords:
    @pytest.mark.parametrize(
        ("when", "said"),
        [
            ("2024-05-01T11:59:15+00:00", "45s"),
            ("2024-05-01T11:56:40Z", "3m20s"),
            ("2024-05-01T09:55:00Z", "2h5m"),
            ("2024-04-28T08:00:00Z", "3d4h"),
            ("2024-05-01T12:00:01Z", "0s"),
            ("", "-"),
        ],
    )
    def test_ago(self, when: str, said: str) -> None:
        assert ago(when, NOW) == said

    def test_a_table_is_never_cut(self) -> None:
        assert table(["A", "B"], [["x" * 200, "y"]])[1] == f"{'x' * 200}   y"
        assert table(["A", "B"], []) == ["A   B"]

    def test_a_table_fits_a_terminal(self) -> None:
        """By less space between columns, else with the last one below; what still does not fit is not cut either."""
        rows = [["web", "two words"], ["api", "-"]]
        assert table(["A", "ABOUT"], rows, width=15) == ["A     ABOUT", "web   two words", "api   -"]
        assert table(["A", "ABOUT"], rows, width=14) == ["A    ABOUT", "web  two words", "api  -"]
        assert table(["A", "ABOUT"], rows, width=9) == ["A", "    ABOUT", "web", "    two", "    words", "api"]
        assert table(["A", "ABOUT"], [["x" * 20, "-"]], width=9) == ["A", "x" * 20]
        assert table(["A", "B"], [["x" * 20, "y" * 20]], width=9)[2:] == ["x" * 20, "    " + "y" * 20]
