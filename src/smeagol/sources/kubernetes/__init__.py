"""Objects from a Kubernetes API server: list, then watch, for as long as it takes."""

from __future__ import annotations

from smeagol.sources.kubernetes.collection import Decoded, Kind, ObjectKey, Store
from smeagol.sources.kubernetes.reflector import Backoff, Reflector

__all__ = ["Backoff", "Decoded", "Kind", "ObjectKey", "Reflector", "Store"]
