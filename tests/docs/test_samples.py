"""Manifests, series and files that pages show are those that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from intent.builders import World, canary, port, service
from smeagol.api import Refused, modernize, parse, read_text
from smeagol.demo.script import ROLLOUT
from smeagol.install.manifests import DISCOVERY_PORT
from smeagol.plan import METRICS_PORT
from smeagol.providers.envoy.metrics import FAMILIES
from smeagol.webhook.root_proxy import deployment, endpoint_slices
from webhook.pods import SETTINGS, bootstrap

from .pages import DOCS, ROOT, blocks, pages
from .problem_codes import PAGES

PROSE = [page for page in pages() if not page.is_relative_to(PAGES)]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_manifests_are_accepted(page: Path) -> None:
    """An API server would take every object that a page shows; problem pages have a test of their own."""
    for block in blocks(page, "yaml"):
        if "apiVersion:" not in block.text:
            continue
        reading = read_text(block.text, file=f"{page.name}:{block.line}")
        assert not reading.problems
        for document in reading.documents:
            modern = modernize(document)
            result = modern if isinstance(modern, Refused) else parse(modern.document)
            assert not isinstance(result, Refused), result


def test_the_policy_of_root_proxies_is_about_what_they_use() -> None:
    """Their Pods, where they listen for port 80 of a root, and the ports of proxies and of the control plane."""
    (shown,) = (block.text for block in blocks(DOCS / "operations.md", "yaml") if "kind: NetworkPolicy" in block.text)
    policy = yaml.safe_load(shown)
    split = canary("web", "web", {"web-v1": "1"}, root_proxies=2)
    asked = World(service("web", port(80, "http")), service("web-v1", port(80, "http")), split).canary("web")
    run: Any = deployment(asked, "", SETTINGS, bootstrap)
    led: Any = endpoint_slices(asked, "", ("10.96.0.1",), ())
    assert policy["metadata"]["namespace"] == run["metadata"]["namespace"]
    assert policy["spec"]["podSelector"] == run["spec"]["selector"]
    come = [one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]]
    assert come == [led[0]["ports"][0]["port"], METRICS_PORT]
    gone = [one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]]
    assert gone == [8080, DISCOVERY_PORT, 53, 53]


def test_every_series_is_described() -> None:
    """The tables of the metrics page name each series that there is, and no other."""
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`(smi_\w+|smeagol_\w+)`", page))
    # As the endpoint gives them: the client library puts `_total` behind a counter's name.
    modules = (ROOT / f"src/smeagol/runtime/{name}_metrics.py" for name in ("own", "controller"))
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    gauges = set(re.findall(r'(?:GaugeMetricFamily|HistogramMetricFamily|histogram)\(\s*"(\w+)"', source))
    own = {name if name in gauges else f"{name}_total" for name in re.findall(r'"(smeagol_\w+)"', source)}
    assert described == {*FAMILIES, *own}


def test_the_picture_shows_the_demo() -> None:
    """One frame for each step, under the titles that the steps have today (`docs/images/record.py` makes it)."""
    picture = DOCS / "images/demo.svg"
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    text = picture.read_text(encoding="utf-8").replace("&#160;", " ")
    assert text.count('<g class="frame"') == len(ROLLOUT)
    for step in ROLLOUT:
        assert step.title in text, f"{step.title!r} is not in the picture: python docs/images/record.py {picture}"
