"""The reference of injection names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from smeagol.plan import METRICS_PORT, READINESS_PORT
from smeagol.plan.proxy_size import CURES, ProxySize
from smeagol.webhook.inject import RESERVED_PORTS
from smeagol.webhook.probes import FIRST_GRPC_PORT
from smeagol.webhook.settings import ANNOTATIONS

PAGE = (Path(__file__).parents[2] / "docs/reference/injection.md").read_text()


def test_every_annotation_has_its_row() -> None:
    assert set(re.findall(r"^\| `(smeagol\.dev/[a-z-]+)` \|", PAGE, re.MULTILINE)) == set(ANNOTATIONS)


def test_the_sizes_are_those_of_a_proxy() -> None:
    """Where neither the Pod nor the installation says otherwise."""
    told = dict(re.findall(r"^\| `smeagol\.dev/proxy-([a-z-]+)` \| [^|]* \| `([^`]*)` \|", PAGE, re.MULTILINE))
    assert {field: told[field.replace("_", "-")] for field in CURES} == {
        field: str(getattr(ProxySize(), field)) for field in CURES
    }


def test_the_ports_are_those_of_the_proxy() -> None:
    assert {READINESS_PORT, METRICS_PORT} < RESERVED_PORTS
    assert f"{', '.join(map(str, sorted(RESERVED_PORTS)))}, and from {FIRST_GRPC_PORT} on" in PAGE
