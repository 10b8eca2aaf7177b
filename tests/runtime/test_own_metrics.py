"""What the control plane tells Prometheus about itself."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from smeagol.intent import Settings
from smeagol.pki import LocalAuthority, MemoryKeyStore
from smeagol.plan import ProxyProvider
from smeagol.runtime.control_plane import ControlPlane, now
from smeagol.runtime.offline import provider_named
from smeagol.runtime.own_metrics import own_metrics
from smeagol.xds import TlsConfig


async def _nobody(_token: str) -> None:
    return None


def test_every_series_follows_the_conventions() -> None:
    """Prometheus: a prefix of the program, counters end in `_total`, base units, help for each."""
    provider = provider_named("envoy")
    assert isinstance(provider, ProxyProvider)
    plane = ControlPlane(
        name="a",
        settings=Settings(),
        provider=provider,
        authority=LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=now()),
        owner_of=_nobody,
        tls=TlsConfig(certificate_chain=b"", private_key=b""),
        changed=lambda: None,
    )
    plane.settle()
    families = {family.name: family for family in text_string_to_metric_families(own_metrics(plane))}
    assert all(name.startswith("smeagol_") and family.documentation for name, family in families.items())
    counters = [s.name for f in families.values() if f.type == "counter" for s in f.samples]
    assert counters
    assert all(name.endswith("_total") for name in counters)
    assert families["smeagol_xds_resources"].samples
