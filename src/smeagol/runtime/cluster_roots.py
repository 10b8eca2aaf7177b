"""The authority of a mesh in a cluster, from outside: its root replaced, and what is handed over to it judged.

The keys in their Secret are all that is shared: whoever may write it can take the first step as a replica would. The
replicas see it there and take the others, in step with what the proxies acknowledge.
"""

from __future__ import annotations

from datetime import datetime

import httpx2

from smeagol.install import ApiServer, Intermediate, find_installed
from smeagol.install.access import AUTHORITY_SECRET
from smeagol.pki import AuthorityError, LocalAuthority, judge
from smeagol.runtime.secret_store import SecretKeyStore, SecretSupply

__all__ = ["begin_rotation", "handed_over"]


def handed_over(client: httpx2.Client, *, namespace: str, secret: str, now: datetime) -> Intermediate:
    """What `--ca-secret` names, as a replica would take it now, and what is kept of what it took before."""
    store = SecretKeyStore(client, namespace=namespace, name=AUTHORITY_SECRET, entry="supplied")
    fault, until = judge(store, SecretSupply(client, namespace=namespace, name=secret), now=now)
    return Intermediate(fault=fault, signs_until=until)


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
