"""What can go wrong between this server and a proxy, in words a person can act on."""

# ruff: noqa: N818 - the names say what happened; that they are errors shows where they are raised

from __future__ import annotations

from smeagol.errors import SmeagolError

__all__ = [
    "AddressUnavailable",
    "LostHistory",
    "MalformedRequest",
    "MalformedResource",
    "TooManyNames",
    "Unauthenticated",
]


class MalformedRequest(SmeagolError):
    """A client sent something that is not a discovery request, or one without what the protocol requires."""

    code = "SMI-X101"


class Unauthenticated(SmeagolError):
    """A client could not show that it is the proxy it says it is."""

    code = "SMI-X102"


class TooManyNames(SmeagolError):
    """A client asked for more than a proxy can need."""

    code = "SMI-X103"


class LostHistory(SmeagolError):
    """A proxy lags so far behind that what it holds is no longer known; it must reconnect and say so."""

    code = "SMI-X104"


class AddressUnavailable(SmeagolError):
    """The server could not listen."""

    code = "SMI-X105"


class MalformedResource(SmeagolError):
    """A resource without a type or a usable name was given to the cache."""

    code = "SMI-X106"
