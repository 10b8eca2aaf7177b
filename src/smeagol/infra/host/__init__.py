"""The host as infrastructure: Pods as network namespaces, their containers as processes, Services as kernel rules.

Everything lives in one `sandbox`, rootless where the kernel allows it, and ends with it. No system package is needed:
rules, links and routes go to the kernel by netlink.
"""

from smeagol.infra.host.host import Host
from smeagol.infra.host.network import NodeNetwork, has_ipv6
from smeagol.infra.host.settings import HostSettings

__all__ = ["Host", "HostSettings", "NodeNetwork", "has_ipv6"]
