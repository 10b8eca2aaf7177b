"""The host as infrastructure: Pods as network namespaces, their containers as processes, Services as kernel rules.

Everything lives in one `sandbox`, rootless where the kernel allows it, and ends with it. No system package is needed:
rules, links and routes go to the kernel by netlink.
"""

from typing import TYPE_CHECKING

from smeagol.infra.host.network import NodeNetwork, has_ipv6
from smeagol.infra.host.settings import HostSettings, program_folders

if TYPE_CHECKING:
    from smeagol.infra.host.host import Host

__all__ = ["Host", "HostSettings", "NodeNetwork", "has_ipv6", "program_folders"]


def __getattr__(name: str) -> object:
    # The agent and `smeagol exec` start in this package too, and should not load what only Host needs (DNS, TLS).
    if name == "Host":
        from smeagol.infra.host.host import Host

        return Host
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
