"""Pods that say who asks them, Pods that ask, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from e2e.cluster.images import BASE

__all__ = ["CLIENT", "Manifest", "Said", "answering", "asked", "manifest", "pod", "sleeping"]

Manifest = dict[str, Any]

SERVER = """
import http.server, json, os, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        own = self.connection.getsockname()[0]
        said = {"who": os.environ["WHO"], "identity": self.headers.get("x-sme-identity", ""), "at": own}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

listens = os.environ["LISTENS"]
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET if listens == "ipv4" else socket.AF_INET6
    request_queue_size = 128

    def server_bind(self):
        if listens != "ipv4":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listens == "ipv6")
        super().server_bind()

Server(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

CLIENT = """
import collections, json, sys, urllib.request

url, count = sys.argv[1], int(sys.argv[2])
found = collections.Counter()
for _ in range(count):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            said = json.load(answer)
        found[json.dumps({**said, "fault": ""})] += 1
    except OSError as error:
        found[json.dumps({"who": "", "identity": "", "at": "", "fault": repr(error)})] += 1
print(json.dumps([{**json.loads(said), "times": times} for said, times in found.items()]))
"""


class Said(TypedDict):
    """One kind of answer: who gave it, to whom, and at which address of its own; how often."""

    who: str
    identity: str
    at: str
    fault: str
    times: int


def manifest(
    version: str,
    kind: str,
    name: str,
    spec: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def answering(who: str, *, listens: str, port: int = 8080, probe: object = None, name: str = "app") -> Manifest:
    """A container that answers every GET. `listens`: to `ipv4`, `ipv6` or `both`."""
    env = {"WHO": who, "LISTENS": listens, "PORT": str(port)}
    return {
        "name": name,
        "image": BASE,
        "command": ["python3", "-c", SERVER],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"containerPort": port}],
        "readinessProbe": probe or {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1},
    }


def sleeping() -> Manifest:
    """A container from which is asked."""
    return {"name": "app", "image": BASE, "command": ["sleep", "infinity"]}


def pod(
    name: str,
    *containers: Manifest,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    **spec: object,
) -> Manifest:
    spec = {"containers": containers, "terminationGracePeriodSeconds": 1, **spec}
    return manifest("v1", "Pod", name, spec, labels, annotations)


def asked(kubectl: Callable[..., str], url: str, *, by: str, times: int = 1) -> list[Said]:
    """What so many requests of a Pod are answered. `kubectl`: of the Pod's namespace."""
    said: list[Said] = json.loads(kubectl("exec", by, "-c", "app", "--", "python3", "-c", CLIENT, url, str(times)))
    return said
