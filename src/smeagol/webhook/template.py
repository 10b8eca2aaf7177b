"""What proxies of injected Pods start with: the provider's bootstrap, with the kubelet's variables in it."""

from __future__ import annotations

import json
from functools import lru_cache

from smeagol.intent import MeshIntent
from smeagol.plan import AppProbe, ProxyConnection, ProxyProvider
from smeagol.refs import NodeId
from smeagol.webhook.inject import TOKEN_PATH, TRUST_PATH, Bootstrap
from smeagol.webhook.settings import InjectionSettings

__all__ = ["bootstrap_template"]

_VARIABLES = ("POD_NAMESPACE", "POD_NAME", "POD_IP")


def bootstrap_template(provider: ProxyProvider, mesh: MeshIntent, settings: InjectionSettings) -> Bootstrap:
    """Remembers what it has made: the Pods of one Deployment have the same probes."""
    connection = ProxyConnection(address=settings.discovery_address, token_file=TOKEN_PATH, ca_file=TRUST_PATH)

    @lru_cache(maxsize=1024)
    def made(probes: tuple[AppProbe, ...]) -> str:
        text = provider.injected_bootstrap(
            NodeId(f"{_mark('POD_NAMESPACE')}/{_mark('POD_NAME')}"), _mark("POD_IP"), mesh, connection, probes
        )
        compact = json.dumps(json.loads(text), separators=(",", ":"))
        # The kubelet replaces $(NAME) in arguments, and $$ by $ (core/v1 Container.args).
        compact = compact.replace("$", "$$")
        for name in _VARIABLES:
            compact = compact.replace(_mark(name), f"$({name})")
        return compact

    return made


def _mark(variable: str) -> str:
    """Stands for a variable until all else is escaped. Nothing of a user's can look like it: in targets of probes, the
    only text of theirs, angle brackets are escaped."""
    return f"<{variable}>"
