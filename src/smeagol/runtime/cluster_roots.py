"""Begins to replace the root of a mesh in a cluster, from outside.

The keys in their Secret are all that is shared: whoever may write it can take the first step as a replica would. The
replicas see it there and take the others, in step with what the proxies acknowledge.
"""

from __future__ import annotations

from datetime import datetime

import httpx2

from smeagol.install import ApiServer, find_installed
from smeagol.install.access import AUTHORITY_SECRET
from smeagol.pki import AuthorityError, LocalAuthority
from smeagol.runtime.secret_store import SecretKeyStore

__all__ = ["begin_rotation"]


def begin_rotation(client: httpx2.Client, *, now: datetime, hurried: bool = False) -> bool:
    """Have a new root trusted beside the present one; if `hurried`, it signs as soon as the proxies trust it, and so
    does one that is on its way already. False if there is nothing to do any more.

    Raises AuthorityError if there are no keys yet or the root is not ours to replace, NotInstalledError, StoreError.
    """
    settings = find_installed(ApiServer(client)).settings
    where = f"Secret {settings.namespace}/{AUTHORITY_SECRET}"
    if settings.ca_secret or settings.ca_signer:
        how = f"in Secret {settings.ca_secret}" if settings.ca_secret else f"by {settings.ca_signer}"
        raise AuthorityError(
            "the root was made elsewhere, and is replaced there",
            where=where,
            fix=f"have an intermediate of the new root handed over {how}; the rest follows",
        )
    store = SecretKeyStore(client, namespace=settings.namespace, name=AUTHORITY_SECRET)
    if store.load() is None:
        raise AuthorityError(
            "the mesh has no keys yet", where=where, fix="wait until its control plane runs: smeagol check"
        )
    trust_domain = settings.trust_domain or settings.cluster_domain
    authority = LocalAuthority.open(store, trust_domain=trust_domain, now=now)
    return authority.begin_rotation(now=now, hurried=hurried)
