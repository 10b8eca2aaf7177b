"""The foobar example's programs, on loopback and without a mesh: what the demo relies on when it counts."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.ports import free_port
from smeagol.demo.load import Slot, read_slot, total

FOLDER = Path(__file__).parents[2] / "examples" / "foobar"
Start = Callable[..., "Program"]


class Program:
    """A running program whose output is read as it comes."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=FOLDER, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def slots(self, count: int) -> list[Slot]:
        found = [read_slot(self.line()) for _ in range(count)]
        return [slot for slot in found if slot is not None]

    def end(self) -> list[str]:
        """SIGTERM, then what it still had to say; it must end well."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return rest.splitlines()


@pytest.fixture
def start() -> Iterator[Start]:
    programs: list[Program] = []

    def started(*arguments: str, **env: str) -> Program:
        programs.append(Program(*arguments, env=env))
        return programs[-1]

    yield started
    for program in programs:
        program.process.kill()
        program.process.communicate()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(start: Start, port: int) -> Program:
    program = start("server.py", "--port", str(port), VERSION="v1", POD_NAME="foobar-v1-x")
    assert program.line() == f"foobar v1 listens on port {port}\n"
    return program


def wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # it was waiting to be accepted when the server stopped listening
            continue
    pytest.fail("new connections are still accepted")


def get(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "client.py", "get", url, *arguments]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60)


class TestServer:
    def test_names_its_version_its_pod_and_the_identity_it_saw(self, server: Program, port: int) -> None:
        assert server.process.poll() is None
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /a HTTP/1.1\r\nhost: x\r\nX-SME-Identity: client.example\r\n\r\n")
            head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(body) == {
            "version": "v1",
            "pod": "foobar-v1-x",
            "path": "/a",
            "identity": "client.example",
        }

    def test_finishes_what_it_has_begun(self, server: Program, port: int) -> None:
        """SIGTERM: new connections are refused, a request on an open one is answered and told to close."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(60)
            request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
            connection.sendall(request)
            assert b"connection: close" not in connection.recv(4096)
            connection.sendall(request[:20])
            server.process.send_signal(signal.SIGTERM)
            wait_until_refused(port)
            connection.sendall(request[20:])
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
        assert server.process.wait(timeout=60) == 0


class TestClient:
    def test_gets_a_few(self, server: Program, port: int) -> None:
        answers = get(f"http://127.0.0.1:{port}/", "--count", "3").stdout.splitlines()
        assert [json.loads(line)["version"] for line in answers] == ["v1"] * 3

    def test_says_why_it_got_nothing(self, port: int) -> None:
        outcome = get(f"http://127.0.0.1:{port}/")
        assert outcome.returncode == 1
        assert f"http://127.0.0.1:{port}/: " in outcome.stderr

    def test_keeps_the_rate_and_counts_everything_once(self, start: Start, server: Program, port: int) -> None:
        """Open loop: what was sent is what the rate says, and each request is in one slot."""
        client = start("client.py", "load", f"http://127.0.0.1:{port}/", "--rate", "200")
        slots = client.slots(6)
        slots += [slot for line in client.end() if (slot := read_slot(line)) is not None]
        counts = total(slots)
        assert counts.failed == 0
        assert counts.versions == (("v1", counts.sent),)
        assert sum(count for _, count in counts.latency) == counts.sent
        assert total(slots[:6]).rate == pytest.approx(200, rel=0.15)  # the last one was cut
        assert all(later.time > earlier.time for earlier, later in itertools.pairwise(slots))

    def test_counts_every_fault_and_goes_on(self, start: Start, server: Program, port: int) -> None:
        """Nothing is tried again, so no fault of the mesh can hide; the rate does not depend on the answers."""
        client = start("client.py", "load", f"http://127.0.0.1:{port}/", "--rate", "100")
        assert total(client.slots(2)).failed == 0
        server.process.kill()
        for _ in range(40):
            (slot,) = client.slots(1)
            if slot.failed == slot.sent:
                break
        else:
            pytest.fail("faults were not counted")
        assert slot.sent > 0
        assert sum(slot.errors.values()) == slot.failed

    def test_may_repeat_what_a_kept_connection_swallowed(self, start: Start) -> None:
        """RFC 9110, 9.2.2: a server that closes a kept connection has not answered; only asked does the client repeat
        such a request, and only over another connection.
        """
        for repeats in (True, False):
            with serving_once_a_connection() as port:
                client = start(
                    "client.py", "load", f"http://127.0.0.1:{port}/", "--rate", "50", *["--reopen"] * repeats
                )
                counts = total(client.slots(4))
            assert bool(counts.failed) is not repeats
            assert counts.versions[0][1] == counts.sent - counts.failed


@contextmanager
def serving_once_a_connection() -> Iterator[int]:
    """A server that keeps connections open, and closes each when the second request has come."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = b'{"version": "v1", "identity": ""}'
            for reply in (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer), b""):
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                self.wfile.write(reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
