"""Container images without a registry: a tar archive of files becomes an archive in the OCI image layout.

See the OCI image specification, image-layout.md and manifest.md. What is made here is one layer, uncompressed.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.places import cache_folder, held

__all__ = ["BASE", "GLIBC", "PAUSE", "PYTHON", "base", "cached", "coredns", "glibc", "pause", "python", "write_image"]

PAUSE = "smeagol.test/pause:1"
COREDNS = "smeagol.test/coredns:1"
BASE = "smeagol.test/debian:bookworm"
"""Debian with Python and iptables; for test workloads, and to build other images on."""

PYTHON = "smeagol.test/python:bookworm"
"""Debian with Python, pip and venv: what `deploy/Containerfile` asks of its base, as python:slim has it."""
GLIBC = "smeagol.test/glibc:bookworm"
"""A C library and nothing that could be run: what programs with no need of more are put on."""

_KEPT_OF_EACH = 6
"""How many states of an image stay in the cache: of several checkouts, and of those that one goes back to."""
_PAUSE_SOURCE = Path(__file__).parent / "pause.c"
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def pause() -> Path:
    """The container that holds each Pod's namespaces."""
    key = hashlib.sha256(_PAUSE_SOURCE.read_bytes()).hexdigest()

    def make(folder: Path, archive: Path) -> None:
        program = folder / "pause"
        run("cc", "-O2", "-static", "-s", "-o", program, _PAUSE_SOURCE, fix="Install a C compiler and static libc.")
        write_image(archive, PAUSE, _layer_of(program, folder), entrypoint=["/pause"])

    return cached("pause", key, make)


def coredns(program: Path) -> Path:
    """The cluster's name server; `program` is static."""

    def make(folder: Path, archive: Path) -> None:
        write_image(archive, COREDNS, _layer_of(program, folder), entrypoint=["/coredns"])

    return cached("coredns-image", str(program), make)


def base() -> Path:
    """For the Pods of tests: Python, a shell, iptables."""
    return _debian(
        "base",
        BASE,
        ("base-files", "base-passwd", "ca-certificates", "coreutils", "dash", "grep", "iptables", "python3", "sed"),
        'ln -sf iptables-nft "$1/usr/sbin/iptables"',
        'ln -sf ip6tables-nft "$1/usr/sbin/ip6tables"',
        'cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"',
    )


def python() -> Path:
    """To build images with Python on. libstdc++ is for packages with compiled parts, as in python:slim."""
    return _debian("python", PYTHON, ("base-files", "base-passwd", "dash", "libstdc++6", "python3", "python3-venv"))


def glibc() -> Path:
    """To put a program on that needs no more than the C library."""
    return _debian("glibc", GLIBC, ("base-files", "base-passwd", "libc6"))


def _debian(name: str, reference: str, packages: Sequence[str], *hooks: str) -> Path:
    """A small Debian, unpacked and not configured: no package's scripts have run, but `hooks` have."""
    # What the scripts would have done, as far as anyone here needs it.
    if "dash" in packages:
        hooks = ('ln -sf dash "$1/usr/bin/sh"', *hooks)
    hooks = (
        *hooks,
        'cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"',
        'cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"',
        'rm -rf "$1"/usr/share/doc/* "$1"/usr/share/locale/* "$1"/usr/share/man/*',
    )
    options = [
        "--variant=extract",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--skip=output/dev",
        "--format=tar",
        f"--include={','.join(packages)}",
    ]
    command = ["mmdebstrap", "--quiet", *options, *(f"--extract-hook={hook}" for hook in hooks), "bookworm"]

    def make(folder: Path, archive: Path) -> None:
        layer = folder / "layer.tar"
        run(*command, layer)
        write_image(archive, reference, layer, entrypoint=[])

    return cached(name, json.dumps([command, reference]), make)


def write_image(archive: Path, reference: str, layer: Path, *, entrypoint: Sequence[str]) -> None:
    """Write an image of one layer (a tar of its files), under a name as `ctr images import` finds it."""
    with tarfile.open(archive, "w") as tar:
        layer_digest = "sha256:" + _sha256(layer)
        tar.add(layer, f"blobs/sha256/{layer_digest.removeprefix('sha256:')}")
        config = {
            "architecture": _ARCHITECTURE,
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created_by": reference}],  # one for each layer, or buildah builds nothing on it
        }
        image = "application/vnd.oci.image"
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{image}.manifest.v1+json",
            "config": _add_blob(tar, f"{image}.config.v1+json", config),
            "layers": [{"mediaType": f"{image}.layer.v1.tar", "digest": layer_digest, "size": layer.stat().st_size}],
        }
        entry = _add_blob(tar, f"{image}.manifest.v1+json", manifest)
        entry["annotations"] = {"io.containerd.image.name": reference}
        _add(tar, "index.json", {"schemaVersion": 2, "manifests": [entry]})
        _add(tar, "oci-layout", {"imageLayoutVersion": "1.0.0"})


def _add_blob(tar: tarfile.TarFile, media_type: str, content: object) -> dict[str, object]:
    digest = hashlib.sha256(_json(content)).hexdigest()
    _add(tar, f"blobs/sha256/{digest}", content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(_json(content))}


def _add(tar: tarfile.TarFile, name: str, content: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(_json(content))
    tar.addfile(entry, io.BytesIO(_json(content)))


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _layer_of(program: Path, folder: Path) -> Path:
    """A layer that is one program, at the root."""
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, program.name, filter=_of_root)
    return layer


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mode = 0o755
    return entry


def cached(name: str, key: str, make: Callable[[Path, Path], None]) -> Path:
    """The archive of that name and key; `make(folder, archive)` makes it if this is the first time.

    Those that were not used for long go, since each state of the sources makes others.
    """
    kept = cache_folder() / "images"
    kept.mkdir(exist_ok=True)
    path = kept / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.tar"
    with held(kept):  # not with the programs, which take minutes
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=kept, prefix=f"{name}-") as folder:
                archive = Path(folder) / "image.tar"
                make(Path(folder), archive)
                archive.replace(path)
        path.touch()
        for old in sorted(kept.glob(f"{name}-*.tar"), key=lambda file: file.stat().st_mtime)[:-_KEPT_OF_EACH]:
            old.unlink()
    return path
