"""Keys and certificates of the mesh: who signs, when certificates and roots are renewed, where keys are kept.

Which names a certificate may carry is decided in `smeagol.names`; here they are only put into it. Nothing here reads
a clock or starts a task: the runtime asks `due` and `LocalAuthority.maintain` with the time it has.
"""

from __future__ import annotations

from smeagol.pki.authority import LEAF_LIFETIME, Authority, CALifetimes, KeptAuthority, LocalAuthority
from smeagol.pki.certificates import AuthorityError, Issued
from smeagol.pki.intermediate import IntermediateAuthority
from smeagol.pki.requested import IntermediateRequest, needs_another
from smeagol.pki.roots import Generation, Overlap, Phase, RootState, Step, last_expiry, next_step
from smeagol.pki.rotation import due, next_wakeup
from smeagol.pki.secret import PrivateBytes
from smeagol.pki.store import FileKeyStore, KeyStore, MemoryKeyStore, StoreError
from smeagol.pki.succession import Authorities, open_authorities
from smeagol.pki.supplied import FileSupply, Supplied, SuppliedAuthority, Supply, judge
from smeagol.plan import Purpose

__all__ = [
    "LEAF_LIFETIME",
    "Authorities",
    "Authority",
    "AuthorityError",
    "CALifetimes",
    "FileKeyStore",
    "FileSupply",
    "Generation",
    "IntermediateAuthority",
    "IntermediateRequest",
    "Issued",
    "KeptAuthority",
    "KeyStore",
    "LocalAuthority",
    "MemoryKeyStore",
    "Overlap",
    "Phase",
    "PrivateBytes",
    "Purpose",
    "RootState",
    "Step",
    "StoreError",
    "Supplied",
    "SuppliedAuthority",
    "Supply",
    "due",
    "judge",
    "last_expiry",
    "needs_another",
    "next_step",
    "next_wakeup",
    "open_authorities",
]
