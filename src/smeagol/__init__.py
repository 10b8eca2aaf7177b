"""Smeagol: the Service Mesh Interface made real.

Three portable Kubernetes kinds (`MutualTLS`, `Canary`, `Sidecar`), one neutral intent, many providers.
`docs/architecture.md` shows the rooms of this package and which may import which.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
