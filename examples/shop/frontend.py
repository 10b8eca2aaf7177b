"""The frontend: one page, made from the catalog (gRPC), the cart (HTTP) and the ledger (a TCP protocol of its own).

    GET /        the page for alice
    GET /NAME    the page for somebody else

It speaks plain text to plain names. Encryption, names and the canary are the mesh's business.
"""

from __future__ import annotations

import json
import socket
import urllib.request

import grpc
from web import serve

TIMEOUT_SECONDS = 5.0

catalog = grpc.insecure_channel("catalog:9000").unary_unary(
    "/shop.Catalog/List", request_serializer=lambda text: text.encode(), response_deserializer=json.loads
)


def cart_of(customer: str) -> object:
    with urllib.request.urlopen(f"http://cart/{customer}", timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)


def ledger(command: str) -> dict[str, str]:
    """The ledger speaks first, like SMTP: a greeting, then one answer to each line."""
    with socket.create_connection(("ledger", 7000), timeout=TIMEOUT_SECONDS) as connection:
        lines = connection.makefile("r", encoding="utf-8", newline="\n")
        greeting = lines.readline().strip()
        connection.sendall(f"{command}\nQUIT\n".encode())
        return {"greeting": greeting, "answer": lines.readline().strip()}


def page(path: str, identity: str) -> object:
    customer = path.strip("/") or "alice"
    return {
        "customer": customer,
        "caller": identity,
        "catalog": catalog("", timeout=TIMEOUT_SECONDS),
        "cart": cart_of(customer),
        "ledger": ledger(f"VISIT {customer}"),
    }


if __name__ == "__main__":
    serve(8080, page)
