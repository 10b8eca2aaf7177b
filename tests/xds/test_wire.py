"""Messages: any bytes are parsed or refused, what is built is what protobuf reads, and reasons hold no secrets."""

from __future__ import annotations

from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import given

from smeagol.xds.errors import MalformedRequest
from smeagol.xds.refusal import mentioned, parts, reason
from smeagol.xds.resource import Entry, Resource
from smeagol.xds.type_urls import CLUSTER
from smeagol.xds.wire import DeltaRequest, WorldRequest, delta_response, world_response
from xds_kit.client import DeltaAnswer, WorldAnswer

names = st.text(min_size=1)


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    for parse in (DeltaRequest.parse, WorldRequest.parse):
        with suppress(MalformedRequest):
            assert parse(raw).type_url


@given(
    resources=st.dictionaries(names, st.binary(max_size=300), max_size=5),
    removed=st.lists(names, max_size=5, unique=True),
    nonce=st.text(),
)
def test_responses_read_as_written(resources: dict[str, bytes], removed: list[str], nonce: str) -> None:
    """Written by hand, read by protobuf."""
    removed = [name for name in removed if name not in resources]
    entries = [Entry.of(Resource(CLUSTER, name, body)) for name, body in resources.items()]
    raw = delta_response(type_url=CLUSTER, nonce=nonce, version="7", entries=entries, removed=removed)
    answer = DeltaAnswer.parse(raw)
    assert (answer.type_url, answer.nonce) == (CLUSTER, nonce)
    assert (answer.resources, answer.removed) == (resources, tuple(removed))
    assert answer.versions == {entry.name: entry.version for entry in entries}
    world = WorldAnswer.parse(world_response(type_url=CLUSTER, nonce=nonce, version="7", entries=entries))
    assert world == WorldAnswer(CLUSTER, nonce, "7", tuple(resources.values()))


def test_a_body_is_kept_once() -> None:
    """The planner keeps what it made; what is ready to be sent adds only the frame around it."""
    resource = Resource(CLUSTER, "a", bytes(1000))
    assert Entry.of(resource).body is resource.body


@given(body=st.binary(), other=st.binary())
def test_equal_bytes_are_equal_versions(body: bytes, other: bytes) -> None:
    one, two = (Entry.of(Resource(CLUSTER, name, each)) for name, each in (("a", body), ("b", other)))
    assert (one.version == two.version) == (body == other)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'goo.gle/debugstr  \nname: "web"\ntls_certificate {\n  private_key {\n    inline_string: "-----BEGIN KEY"\n'
            "  }\n}\n: Proto constraint validation failed (SecretValidationError.Name: too short)",
            "Proto constraint validation failed (SecretValidationError.Name: too short)",
        ),
        (
            "Invalid duration: Expected positive duration: goo.gle/debugonly  \nseconds: -1\n",
            "Invalid duration: Expected positive duration",
        ),
        ('goo.gle/debugstr name: "web" private_key { inline_string: "-----BEGIN', "the proxy gave no reason"),
        ("Error adding/updating cluster(s) web: unknown thing", "Error adding/updating cluster(s) web: unknown thing"),
        ("", "the proxy gave no reason"),
    ],
)
def test_a_reason_without_the_refused_resource(message: str, expected: str) -> None:
    """Envoy 1.40 prints the message that it refuses, keys and all."""
    assert reason(message) == expected


def test_a_reason_is_not_endless() -> None:
    assert len(reason("x" * 1_000_000)) == 1_000


def test_mentioned_as_a_word() -> None:
    """Not as part of a longer name."""
    every = ("shop/web:80", "shop/web:8080", "shop/web", "web", "v1")
    assert mentioned(every, "Error adding cluster(s) shop/web:8080: bad") == ("shop/web:8080",)
    assert mentioned(every, 'route: unknown cluster "web".') == ("web",)


@given(st.lists(names, min_size=2, max_size=20, unique=True), st.text())
def test_parts_are_smaller_and_lose_nothing(every: list[str], message: str) -> None:
    """So that dividing ends, and every resource is tried."""
    divided = parts(tuple(every), message)
    assert sorted(name for part in divided for name in part) == sorted(every)
    assert all(0 < len(part) < len(every) for part in divided)
