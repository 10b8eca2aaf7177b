"""Asking containers how they are: the probes of Kubernetes' kubelet, sent from the node."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import assert_never

from smeagol.infra.host.desired import Exec, Grpc, HttpGet, IPAddress, Probe, ProbeAction, TcpSocket

__all__ = ["ask", "http_get", "results"]

_SERVING = b"\x08\x01"  # HealthCheckResponse.status = SERVING (grpc/health/v1/health.proto)
_STATUS_LINE_BYTES = 4096

RunCommand = Callable[[tuple[str, ...]], Awaitable[int]]


async def ask(action: ProbeAction, *, ip: IPAddress, run: RunCommand) -> bool:
    """Ask once, with no time limit of its own. `ip` is the Pod's; `run` runs a command in the container."""
    try:
        match action:
            case Exec(command=command):
                return await run(command) == 0
            case HttpGet():
                return 200 <= await http_get(action, ip) < 400
            case TcpSocket(port=port, host=host):
                _, writer = await asyncio.open_connection(host or str(ip), port)
                writer.close()
                return True
            case Grpc():
                return await _grpc(action, ip)
            case _:
                assert_never(action)
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return False


async def results(probe: Probe, *, ip: IPAddress, run: RunCommand, report: Callable[[bool], bool]) -> None:
    """Ask again and again, and `report` each verdict that reached its threshold, until it returns False."""
    await asyncio.sleep(probe.initial_delay_seconds)
    successes = failures = 0
    while True:
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                good = await ask(probe.action, ip=ip, run=run)
        except TimeoutError:
            good = False
        successes, failures = (successes + 1, 0) if good else (0, failures + 1)
        reached = successes >= probe.success_threshold or failures >= probe.failure_threshold
        if reached and not report(good):
            return
        await asyncio.sleep(probe.period_seconds)


async def http_get(action: HttpGet, ip: IPAddress) -> int:
    """The status code of one request. Certificates are not checked, as the kubelet does not. Raises OSError."""
    host = action.host or str(ip)
    tls: ssl.SSLContext | None = None
    if action.https:
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, action.port, ssl=tls)
    try:
        name = f"[{host}]" if ":" in host else host
        headers = {"Host": f"{name}:{action.port}", "User-Agent": "kube-probe/smeagol", "Accept": "*/*"}
        headers |= dict(action.headers) | {"Connection": "close"}
        lines = [f"GET {action.path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        status = await reader.readline()
        return int(status[:_STATUS_LINE_BYTES].split()[1])
    except IndexError as error:
        msg = "not an HTTP answer"
        raise ValueError(msg) from error
    finally:
        writer.close()


async def _grpc(action: Grpc, ip: IPAddress) -> bool:
    import grpc

    host = f"[{ip}]" if ip.version == 6 else str(ip)
    name = action.service.encode()
    async with grpc.aio.insecure_channel(f"{host}:{action.port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
        try:
            answer = await check(b"\x0a" + bytes([len(name)]) + name if name else b"")
        except grpc.RpcError:
            return False
    return bytes(answer).startswith(_SERVING)
