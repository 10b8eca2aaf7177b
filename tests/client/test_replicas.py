"""How all replicas of a control plane are asked at once."""

from __future__ import annotations

import threading

import httpx2
import msgspec
import pytest

from smeagol.client import ClusterMesh
from smeagol.client.asking import Asked, BadReplyError, MeshNotFoundError

READ_IN: set[int] = set()


class Said(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        READ_IN.add(threading.get_ident())


class Replicas(ClusterMesh):
    """Three that answer, one that talks nonsense, and one that is silent."""

    def _replicas(self) -> list[Asked]:
        def answer(request: httpx2.Request) -> httpx2.Response:
            if request.headers["x"] == "silent":
                raise httpx2.ConnectError("no route")
            return httpx2.Response(200, text="<html>" if request.headers["x"] == "odd" else '{"name": "it"}')

        def asked(name: str) -> Asked:
            replica = Asked(name, httpx2.MockTransport(answer))
            replica._http.headers["x"] = name
            return replica

        return [asked(name) for name in ("a", "silent", "b", "odd", "c")]


@pytest.fixture
def mesh() -> ClusterMesh:
    return Replicas(httpx2.Client(), "m")


def test_answers_are_read_by_one_thread(mesh: ClusterMesh) -> None:
    """The first use of a type by several at once ends the process (msgspec 0.22: decoders that are half made)."""
    READ_IN.clear()
    mesh._ask_all("/v1/status", Said)
    assert {threading.get_ident()} == READ_IN


def test_a_fault_of_one_replica_hides_no_other(mesh: ClusterMesh) -> None:
    """Neither what does not answer, nor what answers in a way that this version does not understand."""
    answers, faults = mesh._ask_all("/v1/status", Said)
    assert [answer.name for answer in answers] == ["it"] * 3
    assert [type(fault) for fault in faults] == [MeshNotFoundError, BadReplyError]
