"""Where keys are kept: nobody else reads them, no crash halves them, no race doubles them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from subprocess import PIPE

import pytest

from smeagol.pki import FileKeyStore, KeyStore, LocalAuthority, MemoryKeyStore, PrivateBytes, StoreError

NOON = datetime.fromisoformat("2030-06-01T12:00:00+00:00")

MakeStore = Callable[[], KeyStore]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ca"


@pytest.fixture(params=["memory", "file"])
def reopen(request: pytest.FixtureRequest, folder: Path) -> MakeStore:
    """Gives the same store anew each time."""
    memory = MemoryKeyStore()
    return (lambda: memory) if request.param == "memory" else (lambda: FileKeyStore(folder))


class TestEveryStore:
    def test_it_is_empty_at_first(self, reopen: MakeStore) -> None:
        assert reopen().load() is None

    def test_what_was_saved_last_is_there(self, reopen: MakeStore) -> None:
        for text in (b"one", b"two"):
            store = reopen()
            with store.lock():
                store.save(PrivateBytes(text))
        assert reopen().load() == PrivateBytes(b"two")

    def test_the_lock_can_be_taken_again_after_an_error(self, reopen: MakeStore) -> None:
        store = reopen()
        with pytest.raises(KeyError), store.lock():
            raise KeyError
        with store.lock():
            pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFileStore:
    def test_only_the_owner_can_enter_and_read(self, folder: Path) -> None:
        previous = os.umask(0)
        try:
            LocalAuthority.open(FileKeyStore(folder), trust_domain="td", now=NOON)
        finally:
            os.umask(previous)
        assert mode(folder) == 0o700
        assert {p.name: mode(p) for p in folder.iterdir()} == {"authority.json": 0o600, "lock": 0o600}

    def test_a_directory_open_to_others_is_refused(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o750)
        with pytest.raises(StoreError, match=r"mode 0750.*chmod 700"), FileKeyStore(folder).lock():
            pass

    def test_a_file_open_to_others_is_refused(self, folder: Path) -> None:
        LocalAuthority.open(FileKeyStore(folder), trust_domain="td", now=NOON)
        (folder / "authority.json").chmod(0o604)
        with pytest.raises(StoreError, match=r"mode 0604.*chmod 600"):
            LocalAuthority.open(FileKeyStore(folder), trust_domain="td", now=NOON)

    def test_links_are_not_followed(self, folder: Path, tmp_path: Path) -> None:
        store = FileKeyStore(folder)
        with store.lock():
            elsewhere = tmp_path / "elsewhere"
            elsewhere.write_bytes(b"not ours")
            (folder / "authority.json").symlink_to(elsewhere)
        with pytest.raises(StoreError):
            store.load()
        with store.lock():
            store.save(PrivateBytes(b"ours"))
        assert elsewhere.read_bytes() == b"not ours"

    def test_a_crash_while_writing_leaves_the_old_document(self, folder: Path) -> None:
        store = FileKeyStore(folder)
        with store.lock():
            store.save(PrivateBytes(b"old"))
            (folder / "authority.new").write_bytes(b"ha")
        assert store.load() == PrivateBytes(b"old")
        with store.lock():
            store.save(PrivateBytes(b"new"))
        assert store.load() == PrivateBytes(b"new")
        assert mode(folder / "authority.json") == 0o600

    def test_a_place_that_can_not_be_used_is_told_with_its_cause(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(StoreError, match="Not a directory") as caught,
            FileKeyStore(tmp_path / "file" / "ca").lock(),
        ):
            pass
        assert str(tmp_path / "file") in caught.value.where

    def test_processes_that_start_together_make_one_root(self, folder: Path) -> None:
        """Each says when it is ready and starts when told to, so that all find the store empty."""
        racers = [
            subprocess.Popen([sys.executable, "-c", RACER, folder], stdin=PIPE, stdout=PIPE, text=True)
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        bundles = {racer.communicate(timeout=30)[0] for racer in racers}
        assert len(bundles) == 1
        kept = LocalAuthority.open(FileKeyStore(folder), trust_domain="td", now=NOON)
        assert bundles == {kept.trust_bundle_pem.decode()}


RACER = """
import sys
from datetime import datetime
from pathlib import Path
from smeagol.pki import FileKeyStore, LocalAuthority
store, now = FileKeyStore(Path(sys.argv[1])), datetime.fromisoformat("2030-06-01T12:00:00+00:00")
print("ready", flush=True)
sys.stdin.readline()
print(LocalAuthority.open(store, trust_domain="td", now=now).trust_bundle_pem.decode(), end="")
"""
