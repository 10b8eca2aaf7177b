"""What one Pod tells of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from smeagol.infra.kubernetes.own_pod import pods_have_ipv6

LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo"
LINK_LOCAL = "fe800000000000005c93d2fffe2b4d6c 02 40 20 80     eth0"
REACHED = "fd736d65616702010000000000000007 02 80 00 80     eth0"


@pytest.mark.parametrize(("lines", "has"), [([LOOPBACK, LINK_LOCAL], False), ([LOOPBACK, LINK_LOCAL, REACHED], True)])
def test_only_an_address_that_others_reach_counts(tmp_path: Path, lines: list[str], has: bool) -> None:
    """Each Pod on a kernel with IPv6 has ::1 and, once its link is up, one for the link."""
    file = tmp_path / "if_inet6"
    file.write_text("".join(f"{line}\n" for line in lines))
    assert pods_have_ipv6(file) is has


def test_a_kernel_without_ipv6(tmp_path: Path) -> None:
    """It has no such file."""
    assert not pods_have_ipv6(tmp_path / "if_inet6")
