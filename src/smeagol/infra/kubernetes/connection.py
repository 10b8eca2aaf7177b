"""How to reach the API server: a kubeconfig, or the service account of the Pod we run in."""

from __future__ import annotations

from pathlib import Path

import httpx2
from lightkube.config.client_adapter import AsyncClient, Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from smeagol.errors import SmeagolError

__all__ = ["ClusterUnreachableError", "connect", "connect_blocking", "context_name"]

REQUEST_SECONDS = 10.0


class ClusterUnreachableError(SmeagolError):
    code = "SMI-K101"


def connect(kubeconfig: Path | None = None, context: str = "") -> httpx2.AsyncClient:
    """A client with address, trust and credentials set; nothing is sent yet.

    Without `kubeconfig` the Pod's own service account is used, else KUBECONFIG, else ~/.kube/config, as kubectl does.
    Tokens in files are read anew when the server refuses one. Raises ClusterUnreachableError.
    """
    return AsyncClient(_configuration(kubeconfig, context), _parameters())


def connect_blocking(kubeconfig: Path | None = None, context: str = "") -> httpx2.Client:
    """The same for code that does not run on an event loop."""
    return Client(_configuration(kubeconfig, context), _parameters())


def context_name(kubeconfig: Path | None = None, context: str = "") -> str:
    """The context that `connect` takes. Raises ClusterUnreachableError."""
    return _configuration(kubeconfig, context).context_name


def _parameters() -> ConnectionParams:
    return ConnectionParams(timeout=httpx2.Timeout(REQUEST_SECONDS), trust_env=False)


def _configuration(kubeconfig: Path | None, context: str) -> SingleConfig:
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig is not None else KubeConfig.from_env()
        single = config.get(context or None)
    except (ConfigError, OSError, ValueError) as error:
        raise ClusterUnreachableError(
            f"there is no usable configuration for a cluster: {error}",
            where=str(kubeconfig or "KUBECONFIG"),
            fix="name one by --kubeconfig, or check kubectl config view",
        ) from error
    if single is None:
        raise ClusterUnreachableError(
            "the configuration has no such context", where=context, fix="see kubectl config get-contexts"
        )
    return single
