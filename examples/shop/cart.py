"""The cart: what somebody is about to buy. Says who asked, by the name that the mesh has verified."""

from __future__ import annotations

from web import serve

CARTS = {"alice": ["ring"], "bob": ["fish", "rope"]}


def cart(path: str, identity: str) -> object:
    customer = path.strip("/")
    if customer not in CARTS:
        msg = f"nobody called {customer!r} shops here"
        raise LookupError(msg)
    return {"customer": customer, "items": CARTS[customer], "asked by": identity or "somebody without a name"}


if __name__ == "__main__":
    serve(8080, cart)
