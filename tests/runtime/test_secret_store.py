"""Keys in a Secret: whatever is answered instead of one is told as such, and quotes nothing of it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

from smeagol.pki import MemoryKeyStore, StoreError
from smeagol.runtime.control_plane import now
from smeagol.runtime.secret_store import SecretKeyStore, SecretSupply
from smeagol.runtime.signing import SigningSupply


@contextmanager
def answering(body: str) -> Iterator[httpx2.Client]:
    """What stands between us and the API server may answer with a page of its own, and say 200 of it."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
            yield client


def signing(client: httpx2.Client) -> SigningSupply:
    store = MemoryKeyStore()
    return SigningSupply(client, store, signer="example.com/ca", namespace="system", roots="roots", clock=now)


@pytest.mark.parametrize("body", ["<html>hunter2", '{"data": 1, "x": "hunter2"}', '{"data": {"authority": "A"}}'])
@pytest.mark.parametrize(
    "load",
    [
        lambda client: SecretKeyStore(client, namespace="system", name="keys").load(),
        lambda client: SecretSupply(client, namespace="system", name="keys").load(()),
        lambda client: signing(client).load(()),
    ],
    ids=["keys", "supply", "signing"],
)
def test_an_answer_that_is_no_secret_is_tried_again(body: str, load: Callable[[httpx2.Client], object]) -> None:
    """Anything but a StoreError would end the replica."""
    with answering(body) as client, pytest.raises(StoreError) as caught:
        load(client)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
