"""The few Linux calls that Python 3.11 lacks: namespaces, mounts, capabilities.

Constants are those of <linux/sched.h>, <linux/mount.h>, <linux/prctl.h> and <linux/capability.h>. Every call raises
OSError with the kernel's errno, as the `os` module does.
"""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Collection
from pathlib import Path

__all__ = [
    "Capability",
    "Mount",
    "Namespace",
    "become_subreaper",
    "capabilities",
    "die_with_parent",
    "drop_capabilities",
    "mount",
    "setns",
    "umount",
    "unshare",
]


class Namespace(enum.IntFlag):
    """Kinds of namespaces (clone(2))."""

    MOUNT = 0x00020000
    CGROUP = 0x02000000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NETWORK = 0x40000000


class Mount(enum.IntFlag):
    """Mount flags (mount(2))."""

    NONE = 0
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    BIND = 4096
    REC = 16384
    PRIVATE = 1 << 18
    SLAVE = 1 << 19


class Capability(enum.IntEnum):
    """The capabilities this room asks for or looks at (capabilities(7))."""

    NET_ADMIN = 12
    SYS_ADMIN = 21


_UMOUNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, where: str = "") -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), where or None)


def unshare(kinds: Namespace) -> None:
    """Move this thread into new namespaces; for PID, the children that it starts from now on."""
    _check(_libc.unshare(int(kinds)), f"unshare {kinds!r}")


def setns(fd: int, kinds: Namespace) -> None:
    """Join the namespace behind `fd` (a file of /proc/PID/ns, or a pidfd for several kinds at once)."""
    _check(_libc.setns(fd, int(kinds)), f"setns {kinds!r}")


def mount(source: str, target: str | Path, kind: str = "", flags: Mount = Mount.NONE, options: str = "") -> None:
    """Mount `source` on `target`; flags and options as in mount(2)."""
    _check(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()),
        f"mount {source} on {target}",
    )


def umount(target: str | Path) -> None:
    """Take a mount out of this namespace's tree at once, also while it is in use."""
    _check(_libc.umount2(os.fsencode(target), _UMOUNT_DETACH), f"umount {target}")


def die_with_parent(signal: int) -> None:
    """Get `signal` when the thread that started this process ends, however it ends.

    The kernel forgets this at any change of credentials, so it must come after the last one (prctl(2)).
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "PR_SET_PDEATHSIG")


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that none of them escapes to the parent's reaper."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


def capabilities() -> frozenset[int]:
    """Numbers of the capabilities in effect for this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    bits = int(line.split()[1], 16)
    return frozenset(number for number in range(64) if bits >> number & 1)


def drop_capabilities(keep: Collection[int] = ()) -> None:
    """Give up for good, for this process and all it starts, every capability but `keep`; no set-uid program undoes it.

    The process stays uid 0 of its user namespace, so what `keep` names comes back at exec through the bounding set.
    """
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for number in range(last + 1):
        if number not in keep:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP")
    bits = sum(1 << number for number in keep)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable; low word, then high
    _check(_libc.capset(header, data), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
