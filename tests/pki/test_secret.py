"""Private keys can't be printed: not on purpose, not by a log line, not by a traceback."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from datetime import datetime

import pytest

from smeagol.pki import AuthorityError, Issued, LocalAuthority, MemoryKeyStore, PrivateBytes, Purpose

SECRET = PrivateBytes(b"hunter2")


@pytest.fixture
def issued(authority: LocalAuthority, noon: datetime) -> Issued:
    return authority.issue(["web"], Purpose.SERVER, now=noon)


class TestPrivateBytes:
    @pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>40}".format, "{:>40}".format, "%s".__mod__, ascii])
    def test_it_shows_nothing(self, show: Callable[[object], str]) -> None:
        assert show(SECRET).strip() == "[redacted]"

    @pytest.mark.parametrize("leak", [pickle.dumps, json.dumps, bytes, len, iter, vars])
    def test_it_does_not_leave_by_another_way(self, leak: Callable[[object], object]) -> None:
        with pytest.raises(TypeError) as caught:
            leak(SECRET)
        assert "hunter2" not in str(caught.value)

    def test_it_leaves_where_it_is_asked_to(self) -> None:
        assert SECRET.reveal() == b"hunter2"

    def test_it_is_a_value(self) -> None:
        assert SECRET == PrivateBytes(b"hunter2") != PrivateBytes(b"hunter3")
        assert hash(SECRET) == hash(PrivateBytes(b"hunter2"))
        assert copy.deepcopy(SECRET) is SECRET is copy.copy(SECRET)


class TestIssued:
    def test_neither_it_nor_its_parts_show_the_key(self, issued: Issued) -> None:
        log = io.StringIO()
        logger = logging.getLogger("smeagol.test.secret")
        logger.addHandler(logging.StreamHandler(log))
        logger.warning("issued %s %r", issued, dataclasses.asdict(issued))
        assert "[redacted]" in log.getvalue()
        assert "PRIVATE" not in log.getvalue()

    def test_it_can_not_be_serialized_by_accident(self, issued: Issued) -> None:
        with pytest.raises(TypeError):
            pickle.dumps(issued)

    def test_an_authority_shows_no_key(self, authority: LocalAuthority) -> None:
        assert "PRIVATE" not in f"{authority!r}{vars(authority)!r}"


class TestTracebacks:
    """Error trackers print local variables; no frame of ours holds a key in the open where an error can happen."""

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text[: len(text) // 2],
            lambda text: text.replace('"signer": "', '"signer": "x'),
            lambda text: text.replace("BEGIN CERTIFICATE", "BEGIN CERTIFICAT"),
            lambda text: text.replace("BEGIN PRIVATE", "BEGIN PRIVAT"),
            lambda text: text.replace('"key"', '"kex"'),
            lambda text: text.replace('"format": 1', '"format": 2'),
        ],
    )
    def test_a_damaged_document_is_told_of_without_its_keys(self, noon: datetime, damage: Callable[[str], str]) -> None:
        store = MemoryKeyStore()
        LocalAuthority.open(store, trust_domain="td", now=noon)
        document = store.load()
        assert document is not None
        text = document.reveal().decode()
        secrets = json_keys(text)
        store.save(PrivateBytes(damage(text).encode()))
        with pytest.raises(AuthorityError) as caught:
            LocalAuthority.open(store, trust_domain="td", now=noon)
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        # This test's own frame, which holds the text, comes first; ours begin below it.
        ours = shown[shown.index("authority.py") :]
        assert "saved = [redacted]" in ours
        assert not [s for s in secrets if s in ours]
        # JSONDecodeError has the whole document in an attribute.
        assert not isinstance(caught.value.__context__, json.JSONDecodeError)


def json_keys(text: str) -> list[str]:
    """The lines of each PEM key that hold its private part; the rest is the public key, which certificates show."""
    found = json.loads(text)
    keys = [role["key"] for generation in found["generations"] for role in generation.values()]
    return [line for key in keys for line in key.splitlines()[1:3]]
