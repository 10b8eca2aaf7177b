"""The catalog: what there is to buy, by gRPC. Messages are JSON, so that there is nothing to compile.

VERSION=v1 python3 catalog.py
"""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent import futures

import grpc

VERSION = os.environ.get("VERSION", "v0")
ITEMS = {"v1": ["ring", "rope"], "v2": ["ring", "rope", "fish", "lembas"]}


def listing(_request: bytes, context: grpc.ServicerContext) -> dict[str, object]:
    metadata = dict(context.invocation_metadata() or ())
    return {"version": VERSION, "items": ITEMS.get(VERSION, []), "asked by": metadata.get("x-sme-identity", "")}


def main() -> None:
    method = grpc.unary_unary_rpc_method_handler(
        listing, response_serializer=lambda answer: json.dumps(answer).encode()
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Catalog", {"List": method}),))
    server.add_insecure_port("[::]:9000")
    server.start()
    print(f"catalog {VERSION} listens on port 9000", flush=True)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
