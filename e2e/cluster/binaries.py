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
from e2e.cluster.toolchain import go_program

__all__ = ["Binaries", "build", "helm"]

_SOURCES = Path(__file__).parent / "go"
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")


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
    return Binaries(
        kubernetes=_kubernetes().built(),
        etcd=_Module(name="etcd").built(),
        coredns=_Module(name="coredns").built() if with_coredns else None,
    )


def helm() -> Path:
    """Helm, built if this is its first use."""
    return _Module(name="helm").built() / "helm"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """A Go module of ours: the program `name` in `go/<name>`. `stamps`: what the linker writes into variables."""

    name: str
    stamps: str = ""
    links: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return _SOURCES / self.name

    @property
    def folder(self) -> Path:
        """Where the built program is, or will be, for this state of its sources."""
        digest = hashlib.sha256(self.stamps.encode())
        for file in ("go.mod", "go.sum", "main.go"):
            digest.update((self.source / file).read_bytes() + b"\0")
        return cache_folder() / f"{self.name}-{digest.hexdigest()[:16]}"

    def built(self) -> Path:
        """The folder of the program, which is built first if this is its first use."""
        folder = self.folder
        with held(cache_folder()):
            if not folder.is_dir():
                print(f"Building {self.name} from Go modules (first run only) …", file=sys.stderr, flush=True)
                begun = time.monotonic()
                self._build(folder)
                print(f"Built {self.name} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        return folder

    def _build(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{self.name}-") as new:
            program = Path(new) / "built" / self.name
            program.parent.mkdir()
            # Static, so that the same file runs in any container; without symbols, which halves it.
            options = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {self.stamps}", "-o", str(program)]
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
            run("nice", "-n", "19", go_program(), "build", *options, ".", cwd=self.source, environment=environment)
            for link in self.links:
                (program.parent / link).symlink_to(self.name)
            program.parent.rename(folder)


def _kubernetes() -> _Module:
    """All components in one program, which says the version that it was built from."""
    module = (_SOURCES / "kubernetes" / "go.mod").read_text(encoding="utf-8")
    version = re.search(r"\bk8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)$", module, re.MULTILINE)
    assert version, "go/kubernetes/go.mod requires a release of k8s.io/kubernetes"
    values = {"Version": version[1], "Major": version[2], "Minor": version[3]}
    stamps = " ".join(f"-X k8s.io/component-base/version.git{name}={value}" for name, value in values.items())
    return _Module(name="kubernetes", stamps=stamps, links=_COMPONENTS)
