"""A provider in a process of its own, `python provider.py SOCKET`: a Canary becomes a ConfigMap with an HAProxy map."""

import http.server
import json
import os
import socketserver
import sys
from pathlib import Path

MEDIA_TYPE = "application/vnd.smeagol.provider+json;version=1"
INTRODUCTION = {
    "name": "haproxy-map",
    "controllerName": "example.com/haproxy-map",
    "features": ["Canary"],
    "kinds": [{"apiVersion": "v1", "kind": "ConfigMap", "plural": "configmaps"}],
    "version": "1",
    "observes": True,
}


def plan(kind, unit):
    """What must exist for one of the user's objects."""
    headless = "CanaryHeadless" if unit.get("rootHeadless") else ""  # clients dial its Pods, past HAProxy
    if lacking := {"MutualTLS": "MutualTLS", "Sidecar": "SidecarMetrics"}.get(kind, headless):
        why = {"feature": lacking, "message": "a map divides traffic and does nothing else"}
        return {"unsupported": [why | {"field": "spec.service" if headless else "spec"}], "failedClosed": True}
    absent = [left["service"] for left in unit["leftOut"]]
    taking = {service["name"]: weight for service, weight in unit["wanted"] if service not in absent}
    if not (unit["ports"] and any(taking.values())):
        return {}  # the root's own Pods serve
    weights = "".join(f"{name} {weight}\n" for name, weight in taking.items())
    return {"objects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map-" + unit["ref"]["name"]},
                         "data": {"root": unit["root"]["name"], "weights.map": weights}}]}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(INTRODUCTION)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(plan(**asked) if self.path == "/plan" else {"verdict": "Programmed", "by": ["haproxy"]})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", MEDIA_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "smeagol"  # a Unix socket has no address to log


os.umask(0o077)  # whoever may open the socket may ask
Path(sys.argv[1]).unlink(missing_ok=True)
socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
