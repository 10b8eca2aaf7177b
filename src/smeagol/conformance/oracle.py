"""A small account of its own of what the mesh does: who may talk to whom, how, who answers, which identity arrives.

It knows the specification and nothing else, and is short enough to be checked by reading. `cases.matrix` generates
calls and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Answer", "Client", "Server", "answer", "backends"]


@dataclass(frozen=True, slots=True)
class Client:
    """`identity`: what stands in its certificate; empty for one without a proxy."""

    pod: str
    meshed: bool
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """`mode`: Strict, Permissive, or empty where no MutualTLS selects it."""

    pod: str
    version: str
    meshed: bool
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`version` empty: nobody answers. `identity`: `-` for no header, None where the rules say nothing about it."""

    version: str
    identity: str | None = None


def answer(client: Client, server: Server, forged: str = "") -> Answer:
    """What becomes of an HTTP request, whose client put `forged` into the header x-sme-identity.

    SMI-MTLS-03, 04: mutual TLS is spoken iff both have a proxy and a MutualTLS selects the server. 19: Strict refuses
    all else. 15, 16: the header is that of the certificate, or none; without a proxy at the server nobody removes it.
    """
    protected = client.meshed and server.meshed and bool(server.mode)
    if server.mode == "Strict" and not protected:
        return Answer("")
    if protected:
        return Answer(server.version, client.identity)
    return Answer(server.version, "-" if server.meshed else (forged or "-"))


def backends(weights: Mapping[str, int], there: frozenset[str], own: frozenset[str], *, split: bool) -> frozenset[str]:
    """Who may answer at a Canary's root. `weights` in milliunits; `there`: backends that exist and are ready.

    SMI-CAN-08, 11, 12, 19: `split` is whether the client has a proxy and dialled the root by its own address.
    """
    wanted = frozenset(name for name, weight in weights.items() if weight and name in there)
    return wanted if split and wanted else own
