"""One container of a Pod: started, probed, restarted with back-off, and ended in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from smeagol.errors import SmeagolError, sentence
from smeagol.infra.host.backoff import Backoff
from smeagol.infra.host.desired import (
    ContainerOnHost,
    Exec,
    HttpGet,
    PodSpecOnHost,
    Probe,
    RestartPolicy,
    Sleep,
)
from smeagol.infra.host.environment import NoCommandError, command_of, environment_of
from smeagol.infra.host.probe import http_get, results
from smeagol.infra.host.remote import Agent, AgentError, Process
from smeagol.infra.host.settings import HostSettings
from smeagol.infra.host.status import ContainerState, ContainerStatus, Running, Terminated, Waiting
from smeagol.infra.host.wire import File, Start

__all__ = ["Container"]

_START_ERROR = 128  # the exit code that Kubernetes shows for a command that could not be started
_LEAST_GRACE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class _Around:
    """What a container needs from its Pod and host."""

    pod: PodSpecOnHost
    agent: Agent
    settings: HostSettings
    changed: Callable[[], None]


class Container:
    """Runs one container by its Pod's wishes, and knows how it is."""

    def __init__(
        self,
        spec: ContainerOnHost,
        *,
        pod: PodSpecOnHost,
        agent: Agent,
        settings: HostSettings,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._around = _Around(pod, agent, settings, changed)
        self._state: ContainerState = Waiting("ContainerCreating")
        self._ready = False
        self._started = asyncio.Event()
        self._restarts = 0
        self._last: Terminated | None = None
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._begun = False
        self._over = asyncio.Event()

    @property
    def status(self) -> ContainerStatus:
        """How it is now."""
        return ContainerStatus(
            name=self.spec.name,
            state=self._state,
            ready=self._ready,
            started=self._started.is_set(),
            restarts=self._restarts,
            last=self._last,
        )

    async def wait_started(self) -> None:
        """Return once it has started and its startup probe, if there is one, has succeeded."""
        await self._started.wait()

    async def run(self, policy: RestartPolicy) -> Terminated | None:
        """Run it, and again as the policy says, until it has ended for good or was told to; returns how it ended."""
        self._begun = True
        backoff = Backoff(base_seconds=self._around.settings.backoff_seconds)
        clock = asyncio.get_running_loop().time
        end: Terminated | None = None
        try:
            while not self._stopping.is_set():
                since = clock()
                try:
                    end = await self._run_once()
                except NoCommandError as error:
                    # No number of restarts would help: say so, and wait for another manifest.
                    self._show(Waiting("NoCommand", f"{sentence(error.what, error.fix)} [{error.code}]"))
                    await self._stopping.wait()
                    return None
                self._show(end)
                if policy is RestartPolicy.NEVER or (policy is RestartPolicy.ON_FAILURE and end.exit_code == 0):
                    return end
                delay = backoff.after(clock() - since)
                if delay:
                    self._show(Waiting("CrashLoopBackOff", f"back-off {delay:g}s restarting after: {_how(end)}"))
                if await self._stopped_within(delay):
                    break
                self._last = end
                self._restarts += 1
        finally:
            self._over.set()
        if end is not None:
            self._show(end)
        return end

    async def stop(self, deadline: float) -> None:
        """End it: its preStop hook and SIGTERM, and at `deadline` (the loop's time) SIGKILL."""
        self._stopping.set()
        if not self._begun:
            return  # its turn has not come, and will not
        loop = asyncio.get_running_loop()
        if (process := self._process) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._pre_stop()
            process.send_signal(signal.SIGTERM)
            least = loop.time() + _LEAST_GRACE_SECONDS if deadline <= loop.time() else deadline
            with suppress(TimeoutError):
                async with asyncio.timeout_at(least):
                    await process.wait()
            process.send_signal(signal.SIGKILL)
        await self._over.wait()

    # One run.

    async def _run_once(self) -> Terminated:
        try:
            process = self._process = await self._start()
        except NoCommandError:
            raise
        except SmeagolError as error:
            return Terminated(_START_ERROR, "StartError", error.what)
        if self._stopping.is_set():
            process.send_signal(signal.SIGKILL)
        self._show(Running(datetime.now(UTC)))
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(process))
                code = await process.wait()
                watching.cancel()
        finally:
            self._process = None
            self._ready = False
            self._started.clear()
        return Terminated(code, "Completed" if code == 0 else "Error")

    async def _start(self) -> Process:
        around = self._around
        env = environment_of(around.pod, self.spec, base=around.settings.base_env, node_ips=around.settings.node.ips)
        files = self.spec.files if self.spec is around.pod.sidecar else (*around.pod.files, *self.spec.files)
        return await around.agent.run(
            Start(
                process=0,
                pod=str(around.pod.ref),
                container=self.spec.name,
                command=command_of(around.pod, self.spec, env),
                env=env,
                working_dir=self.spec.working_dir or str(around.settings.working_dir),
                files=tuple(File(file.path, file.content, file.mode) for file in files),
                log=str(around.settings.log_of(str(around.pod.ref), self.spec.name)),
                net_admin=self.spec.net_admin,
                within=None,
            )
        )

    async def _watch(self, process: Process) -> None:
        """Probe it: first whether it has started, then whether it lives and whether it is ready."""
        if self.spec.startup is not None:
            verdict = False

            def startup(good: bool) -> bool:
                nonlocal verdict
                verdict = good
                return False

            await self._probe(self.spec.startup, process, startup)
            if not verdict:
                await self._kill(process)
                return
        self._started.set()
        self._set_ready(self.spec.readiness is None)
        self._around.changed()
        async with asyncio.TaskGroup() as tasks:
            if self.spec.readiness is not None:
                tasks.create_task(self._probe(self.spec.readiness, process, self._set_ready))
            if self.spec.liveness is not None:
                await self._probe(self.spec.liveness, process, lambda good: good)
                await self._kill(process)

    async def _probe(self, probe: Probe, process: Process, report: Callable[[bool], bool]) -> None:
        if not self._around.pod.ips:
            return
        await results(
            probe,
            ip=self._around.pod.ips[0],
            run=lambda command: self._exec(command, process),
            report=report,
        )

    def _set_ready(self, ready: bool) -> bool:
        if ready != self._ready:
            self._ready = ready
            self._around.changed()
        return True

    async def _kill(self, process: Process) -> None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._around.pod.grace_seconds):
                await process.wait()
        process.send_signal(signal.SIGKILL)

    async def _exec(self, command: tuple[str, ...], beside: Process) -> int:
        """Run a command in the container; 127 if it cannot be started."""
        around = self._around
        try:
            env: Mapping[str, str] = environment_of(
                around.pod, self.spec, base=around.settings.base_env, node_ips=around.settings.node.ips
            )
            process = await around.agent.run(
                Start(
                    process=0,
                    pod=str(around.pod.ref),
                    container=self.spec.name,
                    command=command,
                    env=dict(env),
                    working_dir=self.spec.working_dir or str(around.settings.working_dir),
                    files=(),
                    log="",
                    net_admin=False,
                    within=beside.number,
                )
            )
        except AgentError:
            return 127
        try:
            return await process.wait()
        finally:
            process.send_signal(signal.SIGKILL)  # its time is over: a probe that hangs must not stay

    async def _pre_stop(self) -> None:
        match self.spec.pre_stop:
            case Exec(command=command) if self._process is not None:
                await self._exec(command, self._process)
            case HttpGet() as get if self._around.pod.ips:
                with suppress(OSError, ValueError):
                    await http_get(get, self._around.pod.ips[0])
            case Sleep(seconds=seconds):
                await asyncio.sleep(seconds)
            case _:
                pass

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _show(self, state: ContainerState) -> None:
        self._state = state
        self._around.changed()


def _how(end: Terminated) -> str:
    return end.message or f"exit code {end.exit_code}"
