"""The CRDs of other meshes. They are not part of this project: tests that need them are skipped where there are none.

`SMEAGOL_PEER_CRDS` names the folder; else it is `crds` in the folder `shared` beside the checkout or above it. It has a
folder for each project, with its CRDs as it publishes them:

    gateway-api/standard   gateway-api/experimental   istio   linkerd   kuma   smi
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = ["crds", "peer_crds"]

CHECKOUT = Path(__file__).parents[2]


def peer_crds() -> Path:
    """The folder. Skips where there is none."""
    if named := os.environ.get("SMEAGOL_PEER_CRDS"):
        return Path(named)
    found = next((p for p in (up / "shared" / "crds" for up in CHECKOUT.parents[:2]) if p.is_dir()), None)
    if found is None:
        pytest.skip("the CRDs of other meshes are not here: SMEAGOL_PEER_CRDS names the folder that has them")
    return found


def crds(*projects: str) -> list[dict[str, Any]]:
    """The definitions in these folders, such as `istio` and `gateway-api/standard`."""
    return [
        document
        for project in projects
        for path in sorted((peer_crds() / project).glob("*.yaml"))
        for document in _documents(path.read_text())
        if document.get("kind") == "CustomResourceDefinition"
    ]


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Some projects keep their CRDs as Helm templates: lines with an expression are labels, and are left out."""
    plain = "\n".join(line for line in text.splitlines() if "{{" not in line)
    yield from (document for document in yaml.safe_load_all(plain) if document)
