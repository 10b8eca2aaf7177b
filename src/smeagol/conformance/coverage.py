"""Rules that no case checks, and why: a test holds this list and the cases against the specification.

Each of them is proved by a test in `tests/e2e`, which may do to a cluster what the suite may not.
"""

from __future__ import annotations

__all__ = ["UNSEEN"]

UNSEEN = {
    "SMI-COMMON-01": "every case uses group and version; scopes are in the CRDs",
    "SMI-CLASS-03": "would need a cluster without a default class",
    "SMI-CLASS-05": "would need a second default class in a cluster that is in use",
    "SMI-CLASS-06": "a permission: it obliges nobody",
    "SMI-CLASS-07": "the CRD says it, which is the interface's own; a folder has no old object to compare with",
    "SMI-POD-03": "Pods of the host's network and of kube-system are not the suite's to create",
    "SMI-POD-07": "addresses are given out by the platform, not by the suite",
    "SMI-POD-08": "the identity of a Pod that has finished is used by nobody who could tell",
    "SMI-POD-09": "how many proxies a Pod has is the provider's own affair as long as traffic is as it should be",
    "SMI-SVC-07": "would need a cluster whose Pods have addresses of both families",
    "SMI-MTLS-11": "a ProviderClass that grants or withholds names would do so to others in a cluster that is in use",
    "SMI-MTLS-21": "which authority signs is set up by whoever installs the provider",
    "SMI-MTLS-24": "where a proxy listens, and how a Pod's owner excludes a port, is the provider's own",
    "SMI-STATUS-03": "writing a foreign condition needs the right to write status, which users do not have",
    "SMI-STATUS-06": "a proxy that refuses its configuration cannot be brought about from outside",
    "SMI-STATUS-08": "writes that change nothing leave no trace",
    "SMI-STATUS-11": "about adapters; what their mesh says is not the suite's to bring about",
    "SMI-STATUS-12": "needs objects of the other mesh, which differ from one to the next",
}
