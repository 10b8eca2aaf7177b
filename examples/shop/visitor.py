"""A stranger without a proxy: who lets it in?

smeagol exec shop/visitor -- python3 visitor.py
"""

from __future__ import annotations

import socket
import sys
import time
import urllib.request


def web(url: str) -> str:
    with urllib.request.urlopen(url, timeout=3) as answer:
        return answer.read().decode().strip()


def ledger() -> str:
    with socket.create_connection(("ledger", 7000), timeout=3) as connection:
        return connection.recv(100).decode().strip() or "closed without a word"


def attempts() -> None:
    for name, attempt in (
        ("cart", lambda: web("http://cart/alice")),
        ("frontend", lambda: web("http://frontend/alice")),
        ("ledger", ledger),
    ):
        try:
            outcome = attempt()
        except OSError as error:
            outcome = f"refused ({error})"
        print(f"{name}: {outcome}", flush=True)


if __name__ == "__main__":
    attempts()
    while "--forever" in sys.argv:
        time.sleep(10)
        attempts()
