"""Starts standalone mode: sockets on the host, then the sandbox, then the loop inside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smeagol.errors import SmeagolError
from smeagol.runtime.places import StateError, control_socket, held, state_folder

__all__ = ["Options", "PortTakenError", "mendable", "run"]


class PortTakenError(SmeagolError):
    code = "SMI-R005"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for."""

    folder: Path
    name: str = "default"
    state_dir: Path | None = None
    metrics_port: int = 0
    inject_by_default: bool = True
    ca_dir: Path | None = None
    provider: str = "envoy"
    verbose: bool = False


def run(options: Options) -> int:
    """Run until told to stop; returns the exit code. Raises SmeagolError where it cannot start.

    Nothing that starts threads may be imported before the sandbox is entered: it forks.
    """
    from smeagol.infra.host import sandbox

    state = state_folder(options.name, options.state_dir)
    if state.resolve().is_relative_to(options.folder.resolve()):
        raise StateError(
            "the state would lie in the folder of manifests, where containers could read its keys",
            where=str(state),
            fix="choose another folder by --state-dir",
        )
    with held(state):
        shutil.rmtree(state / "logs", ignore_errors=True)  # of the last run; this one's begin anew
        control = _listen_control(control_socket(state))
        metrics = _listen_metrics(options.metrics_port)
        metrics_url = f"http://127.0.0.1:{metrics.getsockname()[1]}/metrics"
        try:
            return sandbox.enter(
                lambda sockets: _inside(options, state, sockets, metrics_url), host_sockets=(control, metrics)
            )
        finally:
            control_socket(state).unlink(missing_ok=True)


def _listen_control(path: Path) -> socket.socket:
    """The control socket, for this user alone: its folder is, and so is the socket itself."""
    path.unlink(missing_ok=True)  # of a mesh that was killed; the folder is held, so nobody serves it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o077)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(128)
    return listener


def _listen_metrics(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise PortTakenError(
            f"the metrics port cannot be opened: {error.strerror}",
            where=f"127.0.0.1:{port}",
            fix="choose another by --metrics-port, or 0 for any free one",
        ) from error
    listener.listen(128)
    return listener


def _inside(options: Options, state: Path, sockets: Sequence[socket.socket], metrics_url: str) -> int:
    """Process of the sandbox: everything from here on may start threads."""
    import uvloop

    from smeagol.runtime.logs import configure

    configure(verbose=options.verbose)
    control, metrics = sockets
    try:
        return uvloop.run(_serve(options, state, control, metrics, metrics_url))
    except (SmeagolError, BaseExceptionGroup) as error:
        for problem in mendable(error):
            print(f"smeagol: {problem}", file=sys.stderr)
        return 1


def mendable(error: SmeagolError | BaseExceptionGroup[BaseException]) -> list[SmeagolError]:
    """What a user can mend, out of the groups that tasks put it in; anything else in them is raised."""
    if isinstance(error, SmeagolError):
        return [error]
    known, unknown = error.split(SmeagolError)
    if unknown is not None:
        raise unknown
    return [problem for each in (known.exceptions if known is not None else ()) for problem in mendable(each)]


async def _serve(
    options: Options, state: Path, control: socket.socket, metrics: socket.socket, metrics_url: str
) -> int:
    from smeagol.plan import ProxyProvider
    from smeagol.providers.envoy.binary import envoy_command
    from smeagol.runtime.control import control_app, metrics_app
    from smeagol.runtime.offline import NoSuchProviderError, provider_named
    from smeagol.runtime.standalone import Settings, Standalone
    from smeagol.runtime.web import serve

    provider = provider_named(options.provider)
    if not isinstance(provider, ProxyProvider):
        raise NoSuchProviderError(
            f"'{options.provider}' has no proxies to run on one machine", fix="leave --provider out, or name envoy"
        )
    mesh = Standalone(
        Settings(
            folder=options.folder,
            state=state,
            name=options.name,
            inject_by_default=options.inject_by_default,
            proxy=envoy_command(),
            metrics_url=metrics_url,
            ca_dir=options.ca_dir,
        ),
        provider,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(mesh.run()),
            tasks.create_task(serve(control_app(mesh, stop), [control])),
            tasks.create_task(serve(metrics_app(mesh), [metrics])),
        ]
        await stop.wait()
        for part in parts:
            part.cancel()
    return 0
