"""Smeagol's images, built with buildah from the Containerfile that users build with any builder: `make images`.

    python -m e2e.images [--cluster NAME]

What they are built on is made from Debian's packages, since there is no registry. An image is made anew when something
changes that goes into it; the builder's own cache has all that does not depend on that, so that a change in `src` costs
seconds. Tests take them from `build_images()`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import images as bases
from e2e.cluster.cluster import Cluster, find
from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.packages import install_for_images
from e2e.cluster.places import ROOT, cache_folder
from smeagol import __version__
from smeagol.providers.envoy.binary import envoy_binary

__all__ = ["Image", "Images", "build_as", "build_images"]

_CONTAINERFILE = ROOT / "deploy" / "Containerfile"
_CONTEXT = ("deploy/build.lock", "deploy/requirements.lock", "pyproject.toml", "README.md", "LICENSE")
_CONTEXT_FOLDERS = ("src", "examples/foobar")
_PROXY_CONTAINERFILE = """\
ARG BASE
FROM ${BASE}
COPY envoy /usr/local/bin/envoy
ENV PATH=/usr/local/bin
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/envoy"]
"""
"""As the upstream's distroless image is, from the Envoy that all other tests run."""

_OTHER_VERSION_CONTAINERFILE = """\
ARG BASE
FROM ${BASE}
USER 0:0
COPY __init__.py /opt/smeagol/smeagol/__init__.py
RUN /opt/packages/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/smeagol/smeagol/__init__.py
USER 65532:65532
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`reference` names its content: another image has another. `archive` is what `Cluster.load` takes."""

    reference: str
    archive: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """`controller`: the control plane, and the init container of Pods (`--image`). `proxy`: Envoy (`--proxy-image`)."""

    controller: Image
    proxy: Image

    def load_into(self, cluster: Cluster) -> None:
        """Bring both into every node."""
        for image in (self.controller, self.proxy):
            cluster.load(image.archive)


def build_images() -> Images:
    """Of this checkout, built if something has changed. Raises ClusterError with what the builder says."""
    return Images(controller=_controller_image(), proxy=_proxy_image())


def build_as(version: str, image: Image) -> Image:
    """A control plane that is all that `image` is, and says that it is another version."""
    package = (ROOT / "src" / "smeagol" / "__init__.py").read_text(encoding="utf-8")
    text = package.replace(f'"{__version__}"', f'"{version}"')

    def build(folder: Path, reference: str) -> None:
        context = folder / "context"
        context.mkdir()
        (context / "__init__.py").write_text(text, encoding="utf-8")
        containerfile = folder / "Containerfile"
        containerfile.write_text(_OTHER_VERSION_CONTAINERFILE, encoding="utf-8")
        _build(context, containerfile, image.archive, reference, transport="docker-archive")

    key = f"{image.reference} {_OTHER_VERSION_CONTAINERFILE} {text}"
    return _image("smeagol-other", hashlib.sha256(key.encode()).hexdigest(), build)


def _controller_image() -> Image:
    base = bases.python()
    sources = [_CONTAINERFILE, *(ROOT / name for name in _CONTEXT)]
    for folder in _CONTEXT_FOLDERS:
        sources += [file for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    digest = hashlib.sha256(base.name.encode())
    for file in sorted(sources):
        digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_mode & 0o111}\0".encode() + file.read_bytes() + b"\0")

    def build(folder: Path, reference: str) -> None:
        ignore = _CONTAINERFILE.with_name("Containerfile.dockerignore")
        _build(ROOT, _CONTAINERFILE, base, reference, f"--ignorefile={ignore}", *_pip_settings(folder))

    return _image("smeagol", digest.hexdigest(), build)


def _proxy_image() -> Image:
    """No shell, nothing that could be run but Envoy."""
    base, envoy = bases.glibc(), Path(envoy_binary())
    with envoy.open("rb") as program:
        key = f"{base.name} {_PROXY_CONTAINERFILE} {hashlib.file_digest(program, 'sha256').hexdigest()}"

    def build(folder: Path, reference: str) -> None:
        context = folder / "context"
        context.mkdir()
        shutil.copy(envoy, context / "envoy")
        containerfile = folder / "Containerfile"
        containerfile.write_text(_PROXY_CONTAINERFILE, encoding="utf-8")
        _build(context, containerfile, base, reference)

    return _image("proxy", hashlib.sha256(key.encode()).hexdigest(), build)


def _image(name: str, key: str, build: Callable[[Path, str], None]) -> Image:
    reference = f"smeagol.test/{name}:{key[:12]}"

    def make(folder: Path, archive: Path) -> None:
        install_for_images()
        begun = time.monotonic()
        print(f"Building {reference} …", file=sys.stderr, flush=True)
        build(folder, reference)
        # Compressing takes longer than all the rest, and nothing is sent anywhere.
        _buildah("push", "--quiet", reference, f"docker-archive:{archive}:{reference}")
        print(f"Built {reference} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    return Image(reference=reference, archive=bases.cached(name, key, make))


def _build(
    context: Path, containerfile: Path, base: Path, reference: str, *options: str, transport: str = "oci-archive"
) -> None:
    """`chroot` needs neither a runtime nor control groups. Times are left out, so that the same makes the same."""
    _buildah(
        "build",
        "--isolation=chroot",
        "--layers",
        "--timestamp=0",
        f"--file={containerfile}",
        f"--build-arg=BASE={transport}:{base}",
        f"--tag={reference}",
        *options,
        str(context),
    )


def _buildah(command: str, *arguments: str) -> None:
    """Our own storage, so that the user's images stay theirs."""
    kept = cache_folder() / "buildah"
    places = [f"--root={kept / 'root'}", f"--runroot={kept / 'run'}", "--storage-driver=overlay"]
    run("buildah", *places, command, *arguments)


def _pip_settings(folder: Path) -> tuple[str, ...]:
    """This machine's settings of pip, its variables included, as secrets of the build: no layer has them."""
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    secrets = []
    for line in run(sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        setting = str(ast.literal_eval(value))
        if key == "cert":
            secrets.append(f"--secret=id=pip-ca.crt,src={setting}")
            setting = "/run/secrets/pip-ca.crt"
        elif setting.startswith(("/", "file:")):
            continue  # a place on this machine, which the build does not see
        sections["global" if section == ":env:" else section][key] = setting
    written = folder / "pip.conf"
    written.touch(mode=0o600)
    written.write_text(
        "".join(
            f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
            for section, settings in sections.items()
        ),
        encoding="utf-8",
    )
    return (f"--secret=id=pip.conf,src={written}", *dict.fromkeys(secrets))


def main() -> None:
    """Build both images, load them into the cluster if it is up, and print how to name them."""
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--cluster", default="default", help="the test cluster to load them into (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        images = build_images()
        if cluster := find(arguments.cluster):
            images.load_into(cluster)
    except ClusterError as error:
        sys.exit(f"error: {error}")
    for image in (images.controller, images.proxy):
        size = image.archive.stat().st_size / 2**20
        print(f"{image.reference}: {image.archive} ({size:.0f} MiB uncompressed)", file=sys.stderr)
    where = f"loaded into the cluster '{cluster.name}'" if cluster else f"no cluster '{arguments.cluster}' is up"
    print(f"{where[0].upper()}{where[1:]}. Install them with:", file=sys.stderr)
    print(f"smeagol install --image {images.controller.reference} --proxy-image {images.proxy.reference}")


if __name__ == "__main__":
    main()
