"""How to reach the API server: a kubeconfig, or the service account of the Pod we run in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
from lightkube.config.client_adapter import AsyncClient, Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from smeagol.errors import SmeagolError

__all__ = ["ClusterUnreachableError", "connect", "connect_blocking", "context_name"]

REQUEST_SECONDS = 10.0

C = TypeVar("C", httpx2.AsyncClient, httpx2.Client)


class ClusterUnreachableError(SmeagolError):
    code = "SMI-K101"


def connect(kubeconfig: Path | None = None, context: str = "") -> httpx2.AsyncClient:
    """A client with address, trust and credentials set; nothing is sent yet.

    Without `kubeconfig` the Pod's own service account is used, else KUBECONFIG, else ~/.kube/config, as kubectl does.
    Tokens in files are read anew when the server refuses one; one that cannot be read fails the request as if the
    server could not be reached (httpx2.HTTPError), for it may come back as well. Raises ClusterUnreachableError.
    """
    return _bearable(AsyncClient(_configuration(kubeconfig, context), _parameters()))


def connect_blocking(kubeconfig: Path | None = None, context: str = "") -> httpx2.Client:
    """The same for code that does not run on an event loop."""
    return _bearable(Client(_configuration(kubeconfig, context), _parameters()))


def context_name(kubeconfig: Path | None = None, context: str = "") -> str:
    """The context that `connect` takes. Raises ClusterUnreachableError."""
    return _configuration(kubeconfig, context).context_name


class _Credentials(httpx2.Auth):
    """What goes wrong in getting credentials, a file that is gone or a command that fails, fails the request like any
    other, which all who send requests know how to bear."""

    def __init__(self, given: httpx2.Auth) -> None:
        self._given = given

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        with _request_fault(request):
            yield from self._given.sync_auth_flow(request)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        async with aclosing(self._given.async_auth_flow(request)) as flow:
            with _request_fault(request):
                try:
                    sent = await anext(flow)
                    while True:
                        sent = await flow.asend((yield sent))
                except StopAsyncIteration:
                    return


def _bearable(client: C) -> C:
    if client.auth is not None:
        client.auth = _Credentials(client.auth)
    return client


@contextmanager
def _request_fault(request: httpx2.Request) -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError:
        raise
    except Exception as error:
        text = f"no credentials: {error}"
        raise httpx2.RequestError(text, request=request) from error


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
