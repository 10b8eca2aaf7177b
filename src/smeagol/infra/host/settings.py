"""What a host is told once, at its start."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import smeagol
from smeagol.infra.host.network import NodeNetwork
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN

__all__ = ["HostSettings", "program_folders"]

_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ")


def _inherited() -> Mapping[str, str]:
    """This process's environment; `python3` is the Python that runs here, whatever else is installed."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
    return {**inherited, "PATH": path}


def program_folders() -> tuple[Path, ...]:
    """Where this program and its Python are, wherever they were installed, and where it was started."""
    return Path(sys.prefix), Path(sys.base_prefix), Path.cwd(), Path(smeagol.__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Addresses, folders and patience of one host. `logs` gets `<namespace>_<pod>/<container>.log`.

    DNS is served on the node's `extra_ips`. `seen` are folders that Pods see even beneath /tmp and /run, which are
    otherwise their own; `hidden` ones they find empty wherever they are. `exec_socket` is served for `smeagol exec`.
    """

    node: NodeNetwork
    logs: Path
    exec_socket: Path | None = None
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    working_dir: Path = field(default_factory=Path.cwd)
    base_env: Mapping[str, str] = field(default_factory=_inherited)
    seen: tuple[Path, ...] = field(default_factory=program_folders)
    hidden: tuple[Path, ...] = ()
    log_bytes: int = 10 << 20
    backoff_seconds: float = 10
    stop_seconds: float = 5
    """How long Pods have in all when the host itself stops, whatever their own grace."""

    def log_of(self, pod: str, container: str) -> Path:
        """Where a container's output goes; `pod` is `namespace/name`."""
        return self.logs / pod.replace("/", "_") / f"{container}.log"

    @property
    def kept(self) -> tuple[str, ...]:
        """The folders of `seen`, and the one that containers start in, that a Pod's own /tmp or /run would hide."""
        folders = (folder.resolve() for folder in (*self.seen, self.working_dir))
        return tuple(
            sorted({str(f) for f in folders if any(f != Path(p) and f.is_relative_to(p) for p in ("/run", "/tmp"))})  # noqa: S108
        )
