"""`smeagol controller`: the control plane in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.install import proxy_size_option

if TYPE_CHECKING:
    import httpx2

    from smeagol.pki import Supply
    from smeagol.runtime.secret_store import SecretKeyStore

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(controller)


def controller(
    provider: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--provider",
            help="Which provider; envoy by default. Adapters to other meshes, such as gateway-api, may be given "
            "together, and so may unix:SOCKET, a provider that runs as a process of its own.",
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Which cluster; inside one, its own service account.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="The namespace Smeagol runs in.")] = "smeagol-system",
    identity: Annotated[
        str, typer.Option("--identity", envvar="POD_NAME", help="Name of this replica, for the election.")
    ] = "",
    pod_cidr: Annotated[
        list[str] | None, typer.Option("--pod-cidr", help="Where Pod addresses lie; may be given more than once.")
    ] = None,
    cluster_domain: Annotated[
        str, typer.Option("--cluster-domain", help="DNS domain of the cluster.")
    ] = "cluster.local",
    trust_domain: Annotated[str, typer.Option("--trust-domain", help="Of the identities; the cluster domain.")] = "",
    ca_secret: Annotated[
        str, typer.Option("--ca-secret", help="Secret with an intermediate to sign with; else the mesh's own.")
    ] = "",
    ca_signer: Annotated[
        str, typer.Option("--ca-signer", help="Have an intermediate signed by a CertificateSigningRequest for it.")
    ] = "",
    ca_roots: Annotated[str, typer.Option("--ca-roots", help="ConfigMap with that signer's roots in its ca.crt.")] = "",
    root_overlap: Annotated[
        int,
        typer.Option(
            "--root-overlap",
            envvar="SMEAGOL_ROOT_OVERLAP",
            min=0,
            help="Seconds a new root is trusted, at least, before it signs: for clients given the roots by hand.",
        ),
    ] = 3600,
    discovery: Annotated[str, typer.Option("--discovery-address", help="Where proxies connect.")] = "[::]:18000",
    webhook: Annotated[
        str, typer.Option("--webhook-address", help="Where the API server asks about Pods.")
    ] = "[::]:9443",
    proxy_image: Annotated[
        str,
        typer.Option(
            "--proxy-image",
            envvar="SMEAGOL_PROXY_IMAGE",
            help="Image of the proxies; without one, Pods get none from here.",
            show_default=False,
        ),
    ] = "",
    proxy_cpu_request: Annotated[str, proxy_size_option("cpu-request")] = "",
    proxy_cpu_limit: Annotated[str, proxy_size_option("cpu-limit")] = "",
    proxy_memory_request: Annotated[str, proxy_size_option("memory-request")] = "",
    proxy_memory_limit: Annotated[str, proxy_size_option("memory-limit")] = "",
    proxy_concurrency: Annotated[str, proxy_size_option("concurrency")] = "",
    init_image: Annotated[
        str,
        typer.Option(
            "--init-image",
            envvar="SMEAGOL_INIT_IMAGE",
            help="Image that sets Pods' redirect rules: that of the control plane.",
            show_default=False,
        ),
    ] = "",
    native_sidecars: Annotated[
        bool,
        typer.Option(
            "--native-sidecars/--no-native-sidecars",
            envvar="SMEAGOL_NATIVE_SIDECARS",
            help="Proxies are native sidecars, or ordinary containers: for clusters whose feature SidecarContainers is "
            "off, which Kubernetes 1.33 and later do not allow.",
        ),
    ] = True,
    control_port: Annotated[
        int,
        typer.Option("--control-port", help="Of loopback, where smeagol status and its kin are answered; 0: nowhere."),
    ] = 0,
    peers: Annotated[
        str, typer.Option("--peers-address", help="Where the replica that leads asks the others what proxies have.")
    ] = "[::]:18001",
    health: Annotated[
        str, typer.Option("--health-address", help="Where /healthz, /readyz and /metrics are, in plain HTTP.")
    ] = "[::]:18002",
    metrics_url: Annotated[
        str,
        typer.Option(
            "--metrics-url",
            help="Where users find /metrics/traffic of that address; statuses of Sidecars tell it.",
            show_default=False,
        ),
    ] = "",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log every step.")] = False,
) -> None:
    """Run one replica of the control plane: watch the API server, give Pods their proxies, write statuses.

    `smeagol install` starts it in a cluster; by hand it is for looking closely. With an adapter (-p gateway-api) there
    are no proxies: the objects of another mesh are applied instead, and that mesh's own status is waited for.
    """
    import asyncio
    import contextlib
    import signal
    import socket
    from datetime import timedelta

    import uvloop

    from smeagol.infra.kubernetes.connection import connect, connect_blocking
    from smeagol.infra.kubernetes.own_pod import pods_have_ipv6
    from smeagol.install.access import AUTHORITY_SECRET
    from smeagol.install.settings import check_one_authority, check_signer, proxy_size
    from smeagol.pki import Overlap
    from smeagol.runtime.adapters import AdapterController, chosen_providers
    from smeagol.runtime.admission import AdmissionSettings
    from smeagol.runtime.control_plane import now
    from smeagol.runtime.controller import Controller, ControllerSettings
    from smeagol.runtime.logs import configure
    from smeagol.runtime.secret_store import SecretKeyStore, SecretSupply
    from smeagol.runtime.signing import SigningSupply
    from smeagol.webhook import InjectionSettings, WebhookPlace

    configure(verbose=verbose)
    injection = InjectionSettings(
        proxy_image=proxy_image,
        init_image=init_image,
        discovery_address=f"smeagol-discovery.{namespace}.svc:18000",
        own_namespace=namespace,
        native_sidecar=native_sidecars,
        size=proxy_size(
            {
                "cpu_request": proxy_cpu_request,
                "cpu_limit": proxy_cpu_limit,
                "memory_request": proxy_memory_request,
                "memory_limit": proxy_memory_limit,
                "concurrency": proxy_concurrency,
            }
        ),
    )
    chosen = chosen_providers(provider or ["envoy"])
    settings = ControllerSettings(
        identity=identity or socket.gethostname(),
        namespace=namespace,
        cluster_domain=cluster_domain,
        overlap=Overlap(minimum=timedelta(seconds=root_overlap)),
        trust_domain=trust_domain or cluster_domain,
        pod_cidrs=tuple(pod_cidr or ()),
        pods_have_ipv6=kubeconfig is None and pods_have_ipv6(),
        discovery_address=discovery,
        admission=AdmissionSettings(injection=injection, place=WebhookPlace(namespace=namespace), address=webhook)
        if proxy_image
        else None,
        control_port=control_port,
        peers_address=peers,
        health_address=health,
        metrics_server=metrics_url,
    )

    check_one_authority(ca_secret, ca_signer)
    check_signer(ca_signer, ca_roots)

    def kept(client: httpx2.Client, entry: str) -> SecretKeyStore:
        return SecretKeyStore(client, namespace=namespace, name=AUTHORITY_SECRET, entry=entry)

    def supply_of(client: httpx2.Client) -> Supply | None:
        """Where an intermediate comes from, if the mesh's authority is not its own."""
        if ca_secret:
            return SecretSupply(client, namespace=namespace, name=ca_secret)
        if ca_signer:
            store = kept(client, "requested")
            return SigningSupply(client, store, signer=ca_signer, namespace=namespace, roots=ca_roots, clock=now)
        return None

    async def run() -> None:
        if task := asyncio.current_task():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with connect_blocking(kubeconfig) as blocking:
            async with connect(kubeconfig) as client:
                if isinstance(chosen, tuple):
                    await AdapterController(settings, client=client, providers=chosen).run()
                    return
                controller = await Controller.open(
                    settings,
                    client=client,
                    provider=chosen,
                    # Two kinds of keys, so that neither is taken for the other.
                    keys=kept(blocking, "authority"),
                    supplied_keys=kept(blocking, "supplied"),
                    supply=supply_of(blocking),
                )
                await controller.run()

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        uvloop.run(run())
