"""What the tests of the PKI share: an authority, and the `openssl` command as a second opinion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smeagol.pki import Issued, LocalAuthority, MemoryKeyStore

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)

OpenSSLVerify = Callable[..., str]


@pytest.fixture
def noon() -> datetime:
    return NOON


@pytest.fixture
def authority() -> LocalAuthority:
    return LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=NOON)


@pytest.fixture
def openssl_verify(tmp_path: Path) -> OpenSSLVerify:
    """`openssl verify` of a leaf with the chain it brings: what it complains about, or "" if it is content."""

    def verify(issued: Issued, bundle_pem: bytes, *options: str, at: datetime = NOON, strict: bool = True) -> str:
        bundle, chain = tmp_path / "ca.crt", tmp_path / "chain.pem"
        bundle.write_bytes(bundle_pem)
        chain.write_bytes(issued.chain_pem)
        command = [
            "openssl",
            "verify",
            *(["-x509_strict"] if strict else []),
            "-no-CApath",
            "-no-CAstore",
            "-attime",
            str(int(at.timestamp())),
        ]
        done = subprocess.run(
            [*command, *options, "-CAfile", bundle, "-untrusted", chain, chain],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return verify
