"""How Pods on this host are, as values: what `kubectl get pod` and `describe` would show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from smeagol.refs import PodRef

__all__ = ["ContainerState", "ContainerStatus", "Phase", "PodStatus", "Running", "Terminated", "Waiting"]


class Phase(StrEnum):
    """`status.phase` of a Pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running yet, or not again yet: ContainerCreating, PodInitializing, CrashLoopBackOff, NoCommand, …"""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since `started_at`."""

    started_at: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended: `reason` is Completed, Error or StartError; a signal's exit code is 128 + its number."""

    exit_code: int
    reason: str
    message: str = ""


ContainerState = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """One container. `last` is how it ended before its last restart."""

    name: str
    state: ContainerState
    ready: bool = False
    started: bool = False
    restarts: int = 0
    last: Terminated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """One Pod, as long as anything of it is there. `message` says what keeps a Pod that could not be set up.

    One that is `terminating` is `ready` for as long as its containers are, as in Kubernetes: it may still serve.
    """

    ref: PodRef
    phase: Phase
    ready: bool
    init_containers: tuple[ContainerStatus, ...]
    containers: tuple[ContainerStatus, ...]
    terminating: bool = False
    message: str = ""
