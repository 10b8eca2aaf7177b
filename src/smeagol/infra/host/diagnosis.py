"""Why a sandbox cannot be made on this machine, and the command that mends it.

`explain` turns the step that was refused, its error number and facts about the kernel into words, and is pure. The
steps are taken by `sandbox.enter`.
"""

from __future__ import annotations

import enum
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from smeagol.errors import SmeagolError

__all__ = ["Facts", "Finding", "SandboxUnavailableError", "Step", "explain"]


class Step(enum.StrEnum):
    """What has to work, in the order in which it is needed."""

    USER_NAMESPACE = "user-namespace"
    USER_MAP = "user-map"
    NAMESPACES = "namespaces"
    PROC = "proc"
    VETH = "veth"
    RULES = "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the kernel says about itself; None where it has no such switch."""

    unprivileged_userns_clone: int | None = None  # Debian
    max_user_namespaces: int | None = None
    apparmor_restrict_userns: int | None = None  # Ubuntu 23.10 and later
    seccomp: bool = False  # a filter is on, as in most containers

    @classmethod
    def read(cls) -> Self:
        """Look at this machine."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return cls(
            unprivileged_userns_clone=_sysctl("kernel/unprivileged_userns_clone"),
            max_user_namespaces=_sysctl("user/max_user_namespaces"),
            apparmor_restrict_userns=_sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp="Seccomp:\t2" in status,
        )


def _sysctl(name: str) -> int | None:
    try:
        return int((Path("/proc/sys") / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that stands in the way: what, why, and what to type."""

    what: str
    why: str
    fix: str


class SandboxUnavailableError(SmeagolError):
    """This machine does not allow a sandbox as it is."""

    code = "SMI-H002"

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.what}: {finding.why}", fix=finding.fix)
        self.finding = finding


_AS_ROOT = "or run it as root"
_CONTAINER = "start the container with `--privileged`"
_MODULES = "nf_tables nft_chain_nat nft_nat nft_redir nft_numgen nft_reject_inet"


def explain(step: Step, number: int, facts: Facts) -> Finding:
    """Say in words why `step` failed with error `number` on a machine with these facts."""
    match step:
        case Step.USER_NAMESPACE | Step.USER_MAP:
            return _explain_user_namespace(step, number, facts)
        case Step.NAMESPACES:
            what = "no namespaces for network, mounts and processes could be made"
            if number == errno.ENOSPC:
                return Finding(
                    what, "a limit of /proc/sys/user is reached", "as root, sysctl -w user.max_net_namespaces=10000"
                )
            if facts.apparmor_restrict_userns:
                return _apparmor(what)
            return Finding(what, _because(number), f"in a container: {_CONTAINER}; {_AS_ROOT}")
        case Step.PROC:
            return Finding(
                "no /proc of the sandbox's own could be mounted",
                "parts of this machine's /proc are hidden, as in containers"
                if not facts.apparmor_restrict_userns
                else "AppArmor restricts user namespaces",
                f"{_CONTAINER} (or with `--security-opt systempaths=unconfined`); outside containers, "
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            )
        case Step.VETH:
            return Finding("no veth interfaces could be made", _because(number), "as root, modprobe veth")
        case Step.RULES:
            return Finding("no nftables rules could be made", _because(number), f"as root, modprobe -a {_MODULES}")


def _explain_user_namespace(step: Step, number: int, facts: Facts) -> Finding:
    what = "no user namespace could be made, and this process has not the rights of root"
    if facts.unprivileged_userns_clone == 0:
        return Finding(
            what,
            "the kernel keeps them from ordinary users (kernel.unprivileged_userns_clone is 0)",
            f"as root, sysctl -w kernel.unprivileged_userns_clone=1; {_AS_ROOT}",
        )
    if facts.max_user_namespaces == 0 or number == errno.ENOSPC:
        return Finding(
            what,
            f"the limit user.max_user_namespaces is {facts.max_user_namespaces} and reached",
            f"as root, sysctl -w user.max_user_namespaces=10000; {_AS_ROOT}",
        )
    if facts.apparmor_restrict_userns:
        return _apparmor(what)
    if number in (errno.EINVAL, errno.ENOSYS):
        return Finding(what, "this kernel was built without them", f"use a kernel with CONFIG_USER_NS=y; {_AS_ROOT}")
    if facts.seccomp:
        return Finding(
            what,
            "a seccomp filter forbids it, as in most containers",
            f"{_CONTAINER}, or with `--cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined`",
        )
    place = "its user map was refused" if step is Step.USER_MAP else _because(number)
    return Finding(what, place, _AS_ROOT.removeprefix("or "))


def _apparmor(what: str) -> Finding:
    return Finding(
        what,
        "AppArmor gives them no rights (kernel.apparmor_restrict_unprivileged_userns is 1)",
        f"as root, sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; {_AS_ROOT}",
    )


def _because(number: int) -> str:
    return os.strerror(number)
