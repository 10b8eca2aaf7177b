"""Where a running mesh keeps what is its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from smeagol.client import Mesh, MeshNotFoundError
from smeagol.runtime.places import AlreadyRunningError, StateError, control_socket, held, state_folder


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    folder = state_folder("demo", tmp_path / "base")
    with held(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert control_socket(folder).parent == folder


def test_one_mesh_a_name(tmp_path: Path) -> None:
    """Two meshes in one folder would fight for the keys and the socket."""
    folder = state_folder("demo", tmp_path / "base")
    with held(folder), pytest.raises(AlreadyRunningError, match="running already"), held(folder):
        pass
    with held(folder):
        pass  # free again


@pytest.mark.parametrize(("base_mode", "folder_mode"), [(0o777, 0o700), (0o755, 0o750)])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, base_mode: int, folder_mode: int) -> None:
    """Somebody may have made it first, to read the keys that are to come."""
    folder = state_folder("demo", tmp_path / "base")
    folder.mkdir(parents=True)
    folder.chmod(folder_mode)
    folder.parent.chmod(base_mode)
    with pytest.raises(StateError, match="not this user's alone"), held(folder):
        pass


def test_an_ordinary_folder_may_be_the_base(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir(mode=0o755)
    with held(state_folder("demo", tmp_path / "base")):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError), held(state_folder("demo", tmp_path / "base")):
        pass


def test_nobody_is_asked_in_a_folder_that_others_may_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's mesh under the well-known name would be handed the terminal of `smeagol exec`."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    base = tmp_path / "smeagol"
    base.mkdir(mode=0o700)
    with pytest.raises(MeshNotFoundError):
        Mesh.find()
    base.chmod(0o777)
    with pytest.raises(StateError, match="not this user's alone"):
        Mesh.find()


@pytest.mark.parametrize("name", ["", "../x", "A", "a" * 41, "-a", "a/b"])
def test_a_name_stays_inside_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be the name"):
        state_folder(name, tmp_path)


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="too long"):
        state_folder("demo", tmp_path / ("x" * 100))
