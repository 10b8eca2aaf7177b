"""What Smeagol is in a cluster, as manifests; and how they get there, are looked after, and leave again.

The manifests are pure functions of `InstallSettings`. The rest speaks to an API server through `ApiServer`: `install`
applies them in the order in which they need each other, `find_removal` and `remove` undo exactly that, `check` finds
what stands in the way before, and what does not work after. Two marks on the objects carry the knowledge between these:
the label of `OWN_LABELS`, and on an object that was not there before, the annotation `CREATED_ANNOTATION`.
"""

from smeagol.install.api_server import ApiServer
from smeagol.install.checking import Finding, Intermediate, Level, check
from smeagol.install.installing import Outcome, Step, install, wait_until_ready
from smeagol.install.manifests import manifests
from smeagol.install.removing import Removal, find_removal, remove
from smeagol.install.resources import Manifest
from smeagol.install.settings import InstallSettings
from smeagol.install.upgrading import Installed, find_installed, outdated, prune, refuse_others, refuse_skew

__all__ = [
    "ApiServer",
    "Finding",
    "InstallSettings",
    "Installed",
    "Intermediate",
    "Level",
    "Manifest",
    "Outcome",
    "Removal",
    "Step",
    "check",
    "find_installed",
    "find_removal",
    "install",
    "manifests",
    "outdated",
    "prune",
    "refuse_others",
    "refuse_skew",
    "remove",
    "wait_until_ready",
]
