"""One Pod's life on this host: its namespaces, its containers in Kubernetes' order, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from smeagol.errors import SmeagolError
from smeagol.infra.host.container import Container
from smeagol.infra.host.desired import ContainerOnHost, PodSpecOnHost, RestartPolicy
from smeagol.infra.host.environment import etc_files
from smeagol.infra.host.redirect import redirect_rules, without_redirect_rules
from smeagol.infra.host.remote import Agent
from smeagol.infra.host.settings import HostSettings
from smeagol.infra.host.status import Phase, PodStatus, Terminated, Waiting
from smeagol.infra.host.wire import AddPod, ApplyRules, RemovePod

__all__ = ["Pod"]


class Pod:
    """Brings one Pod up, keeps it, and takes it down when told to. `run` is its whole life.

    Order (Kubernetes: Pod lifecycle, sidecar containers): the sidecar, then init containers one by one (native
    sidecars among them go on running), then all containers at once. The end goes the other way round.
    """

    def __init__(
        self,
        spec: PodSpecOnHost,
        *,
        agent: Agent,
        settings: HostSettings,
        nsswitch: str,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._agent = agent
        self._settings = settings
        self._nsswitch = nsswitch
        self._changed = changed
        self._stop = asyncio.Event()
        self._stop_at: float | None = None
        self._redirect = False
        self._wanted_redirect = spec.redirect
        self._there = False
        self._failed_init: Terminated | None = None
        self._message = ""

        def container(each: ContainerOnHost) -> Container:
            return Container(each, pod=spec, agent=agent, settings=settings, changed=changed)

        self._sidecars = [container(spec.sidecar)] if spec.sidecar is not None else []
        self._init = [container(each) for each in spec.init_containers]
        self._main = [container(each) for each in spec.containers]

    @property
    def status(self) -> PodStatus:
        """How it is now."""
        init = tuple(each.status for each in (*self._sidecars, *self._init))
        main = tuple(each.status for each in self._main)
        lasting = (*(each.status for each in self._lasting), *main)
        return PodStatus(
            ref=self.spec.ref,
            phase=self._phase(),
            ready=bool(main) and all(each.ready for each in lasting),
            init_containers=init,
            containers=main,
            terminating=self._stop.is_set(),
            message=self._message,
        )

    def stop(self, within_seconds: float | None = None) -> None:
        """Begin its end; it has its own grace, or less."""
        grace = self.spec.grace_seconds if within_seconds is None else min(within_seconds, self.spec.grace_seconds)
        deadline = asyncio.get_running_loop().time() + grace
        self._stop_at = deadline if self._stop_at is None else min(deadline, self._stop_at)
        if not self._stop.is_set():
            self._stop.set()
            self._changed()

    async def set_redirect(self, redirect: bool) -> None:
        """Put the Pod behind its proxy, or take it out again. New connections only; a Pod to be made starts so."""
        self._wanted_redirect = redirect
        if self._there and redirect != self._redirect and not self._stop.is_set():
            self._redirect = redirect
            rules = (
                redirect_rules(
                    self._settings.node.ips,
                    inbound_passed=self.spec.inbound_passed,
                    outbound_passed=self.spec.outbound_passed,
                )
                if redirect
                else without_redirect_rules()
            )
            await self._agent.ask(ApplyRules(pod=str(self.spec.ref), messages=rules))

    async def run(self) -> None:
        """Live until told to stop; returns when nothing of the Pod is left."""
        try:
            await self._set_up()
            async with asyncio.TaskGroup() as tasks:
                life = tasks.create_task(self._live(tasks))
                await self._stop.wait()
                life.cancel()
                await self._end()
        except* Exception as problems:  # all other Pods go on
            self._message = _words(problems)
            self._changed()
            await self._remove()
            await self._stop.wait()
        await self._remove()

    async def _remove(self) -> None:
        """Take away whatever there is of it."""
        await self._agent.ask(RemovePod(pod=str(self.spec.ref)))

    async def _set_up(self) -> None:
        spec = self.spec
        await self._agent.ask(
            AddPod(
                pod=str(spec.ref),
                ips=tuple(map(str, spec.ips)),
                hostname=spec.hostname,
                etc=etc_files(
                    spec,
                    name_servers=self._settings.node.extra_ips,
                    cluster_domain=self._settings.cluster_domain,
                    nsswitch=self._nsswitch,
                ),
                containers=tuple(each.name for each in spec.containers),
            )
        )
        self._there = True
        await self.set_redirect(self._wanted_redirect)

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        for each in (*self._sidecars, *self._init):
            if each in self._lasting:
                tasks.create_task(each.run(RestartPolicy.ALWAYS))
                await each.wait_started()
                continue
            # An init container that failed is tried again, unless the Pod says never.
            policy = (
                RestartPolicy.NEVER if self.spec.restart_policy is RestartPolicy.NEVER else RestartPolicy.ON_FAILURE
            )
            once = tasks.create_task(each.run(policy))
            await asyncio.wait([once])  # being told to stop must not cancel it: it ends in order
            end = once.result()
            if end is None or end.exit_code:
                self._failed_init = end
                await self._end_lasting()
                return
        mains = [tasks.create_task(each.run(self.spec.restart_policy)) for each in self._main]
        await asyncio.wait(mains)
        await self._end_lasting()

    async def _end(self) -> None:
        deadline = self._stop_at or 0.0
        running = [each for each in (*self._init, *self._main) if each not in self._lasting]
        async with asyncio.TaskGroup() as tasks:
            for each in running:
                tasks.create_task(each.stop(deadline))
        await self._end_lasting(deadline)

    async def _end_lasting(self, deadline: float | None = None) -> None:
        grace = asyncio.get_running_loop().time() + self.spec.grace_seconds
        for each in reversed(self._lasting):
            await each.stop(grace if deadline is None else deadline)

    @property
    def _lasting(self) -> list[Container]:
        return [*self._sidecars, *(each for each in self._init if each.spec.restart_always)]

    def _phase(self) -> Phase:
        if self._failed_init is not None:
            return Phase.FAILED
        statuses = [each.status for each in self._main]
        if all(isinstance(each.state, Waiting) and not each.restarts for each in statuses):
            return Phase.PENDING
        for_good = self.spec.restart_policy is not RestartPolicy.ALWAYS
        if for_good and all(isinstance(each.state, Terminated) for each in statuses):
            ends = [each.state for each in statuses if isinstance(each.state, Terminated)]
            if self.spec.restart_policy is RestartPolicy.NEVER or not any(end.exit_code for end in ends):
                return Phase.FAILED if any(end.exit_code for end in ends) else Phase.SUCCEEDED
        return Phase.RUNNING


def _words(problems: BaseExceptionGroup[Exception]) -> str:
    """What went wrong first; an error that is no word of ours says its type too."""
    error: BaseException = problems
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, SmeagolError) else f"{type(error).__name__}: {error}"
