"""A small web server for the shop: one function answers, everything else is the standard library's."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str, str], object]
"""(path, identity of the caller) -> what is answered, as JSON. May raise LookupError: 404."""


def serve(port: int, answer: Answer) -> None:
    """Answer GET requests until SIGTERM; what has begun by then is finished."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keep connections open

        def do_GET(self) -> None:
            try:
                status, content = 200, answer(self.path, self.headers.get("x-sme-identity", ""))
            except LookupError as error:
                status, content = 404, {"error": str(error)}
            except Exception as error:
                status, content = 502, {"error": f"{type(error).__name__}: {error}"}
            body = json.dumps(content).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            pass  # the mesh counts requests

    server = ThreadingHTTPServer(("", port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on port {port}", flush=True)
    server.serve_forever()
