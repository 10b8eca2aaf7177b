"""The cluster's programs, built from Go modules once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.places import cache_folder, held

__all__ = ["Binaries", "build"]

_SOURCES = Path(__file__).parent / "go"
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_NO_GO = "Install Go 1.26 or newer (https://go.dev/doc/install)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Folders of built programs. `kubernetes` holds one program under the names of all its components."""

    kubernetes: Path
    etcd: Path
    coredns: Path | None

    @property
    def kubectl(self) -> Path:
        return self.kubernetes / "kubectl"


def build(*, with_coredns: bool) -> Binaries:
    """Build what is missing and return where all is. Kubernetes takes some ten minutes on two cores, once."""
    version = _required_version("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    stamp = "-X k8s.io/component-base/version.git"
    kubernetes = _build(
        "kubernetes", f"{stamp}Version={version} {stamp}Major={major} {stamp}Minor={minor}", links=_COMPONENTS
    )
    return Binaries(kubernetes=kubernetes, etcd=_build("etcd"), coredns=_build("coredns") if with_coredns else None)


def _required_version(name: str, module: str) -> str:
    found = re.search(
        rf"^(?:require |\t){re.escape(module)} (v\S+)$", (_SOURCES / name / "go.mod").read_text(), re.MULTILINE
    )
    assert found, f"go/{name}/go.mod must require {module}"
    return found[1]


def _build(name: str, stamps: str = "", links: tuple[str, ...] = ()) -> Path:
    source = _SOURCES / name
    digest = hashlib.sha256(stamps.encode())
    for file in ("go.mod", "go.sum", "main.go"):
        digest.update((source / file).read_bytes() + b"\0")
    folder = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    with held(cache_folder()):
        if folder.is_dir():
            return folder
        print(f"Building {name} from Go modules (first run only) …", file=sys.stderr, flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{name}-") as new:
            # Static, so that the same file runs in any container; without symbols, which halves it.
            options = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {stamps}"]
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
            program = Path(new) / "built" / name
            program.parent.mkdir()
            run(
                "nice",
                "-n",
                "19",
                "go",
                "build",
                *options,
                "-o",
                program,
                ".",
                cwd=source,
                environment=environment,
                fix=_NO_GO,
            )
            for link in links:
                (program.parent / link).symlink_to(name)
            program.parent.rename(folder)
        print(f"Built {name} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return folder
