"""Generated cases: every client to every server by every way, and random Canaries, each compared with the oracle."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from smeagol.conformance.bench import Bench, told
from smeagol.conformance.call import Call, Result
from smeagol.conformance.model import UnmetError, case_of
from smeagol.conformance.oracle import Client, Server, answer, backends
from smeagol.conformance.write import canary

__all__ = ["CASES", "Combination", "combinations", "splits"]

NS = "smi-canary"
FORGED = "admin.example"
WAYS = ("service", "cluster-ip", "pod-ip", "headless")
SPELLINGS = {0: ("0", "0m"), 1: ("1m",), 500: ("500m", "0.5"), 1000: ("1", "1000m", "1e0"), 2000: ("2",)}
SEED = 20190501
SPLITS = 12


@dataclass(frozen=True, slots=True)
class Combination:
    """One generated call. `way`: how the server is dialled."""

    client: Client
    server: Server
    way: str
    forged: str

    @property
    def tags(self) -> tuple[str, ...]:
        """What a pass rate is told for."""
        return (
            f"client:{'meshed' if self.client.meshed else 'unmeshed'}",
            f"server:{self.server.mode or ('sidecar-only' if self.server.meshed else 'unmeshed')}",
            f"way:{self.way}",
            f"header:{'forged' if self.forged else 'none'}",
        )


def combinations(identity: str, *, permissive: bool) -> Iterator[Combination]:
    """The whole matrix."""
    clients = (
        Client("smi-clients/client", meshed=True, identity=identity),
        Client("smi-clients/plain", meshed=True, identity=identity),
        Client("smi-clients/stranger", meshed=False),
    )
    servers = [
        Server("smi-strict/web", "strict", meshed=True, mode="Strict"),
        Server("smi-plain/web", "plain", meshed=True),
        Server("smi-outside/web", "outside", meshed=False),
    ]
    if permissive:
        servers.append(Server("smi-permissive/web", "permissive", meshed=True, mode="Permissive"))
    for client, server, way, forged in itertools.product(clients, servers, WAYS, ("", FORGED)):
        yield Combination(client, server, way, forged)


def _matrix(bench: Bench, *, permissive: bool) -> None:
    """Call all, and compare; the identity only where the provider claims it."""
    identity = f"spiffe://{bench.driver.facts()['trustDomain']}/ns/smi-clients/sa/default"
    known = "MutualTLSIdentityHeader" in bench.features
    wrong: list[str] = []
    every = [
        c for c in combinations(identity, permissive=permissive) if not permissive or c.server.mode == "Permissive"
    ]
    for client, group in itertools.groupby(every, key=lambda c: c.client):
        chosen = list(group)
        for each, got in zip(chosen, bench.call(client.pod, *(_call(bench, c) for c in chosen)), strict=True):
            complaint = _compare(each, got, known=known)
            bench.tally(each.tags, passed=not complaint)
            if complaint:
                wrong.append(complaint)
    if wrong:
        raise UnmetError(
            f"{len(wrong)} of {len(every)} combinations", expected="as the oracle says", seen="\n".join(wrong[:8])
        )


def _call(bench: Bench, each: Combination) -> Call:
    namespace = each.server.pod.partition("/")[0]
    ips = bench.driver.cluster_ips(namespace, "web")
    host = {
        "service": f"web.{namespace}",
        "cluster-ip": f"[{ips[0]}]" if ":" in ips[0] else ips[0],
        "pod-ip": f"{bench.ip(each.server.pod)}:8080",
        "headless": f"direct.{namespace}:8080",
    }[each.way]
    headers = (("x-sme-identity", each.forged),) if each.forged else ()
    return Call(url=f"http://{host}/", headers=headers, fresh=True, timeout=4)


def _compare(each: Combination, got: Result, *, known: bool) -> str:
    """What is not as the oracle says; empty if all is."""
    right = answer(each.client, each.server, each.forged)
    version = next(iter(got.versions), "")
    identity = next(iter(got.identities), "-")
    if version == right.version and (not known or not version or right.identity in (None, identity)):
        return ""
    return (
        f"{' '.join((each.client.pod, *each.tags))}: expected {right.version or 'no answer'} ({right.identity}), "
        f"seen {version or 'no answer'} ({identity}; {told(got)})"
    )


@case_of(
    "SMI-MUTUALTLS",
    "SMI-MTLS-01", "SMI-MTLS-03", "SMI-MTLS-04", "SMI-MTLS-16", "SMI-MTLS-19", "SMI-SVC-05",
    features=("MutualTLS",),
    stage=("mutual-tls",),
)  # fmt: skip
def mutual_tls_matrix(bench: Bench) -> None:
    """Every client to every server, by Service, ClusterIP, Pod and headless name, with and without a forged header."""
    _matrix(bench, permissive=False)


@case_of(
    "SMI-MUTUALTLS",
    "SMI-MTLS-20", "SMI-MTLS-16",
    features=("MutualTLS", "MutualTLSPermissive"),
    stage=("mutual-tls", "permissive"),
)  # fmt: skip
def permissive_matrix(bench: Bench) -> None:
    """The same to a Permissive server."""
    _matrix(bench, permissive=True)


def splits(seed: int = SEED, count: int = SPLITS) -> Iterator[dict[str, tuple[str, int]]]:
    """Random Canaries: backend to (weight as written, in milliunits). `web-v4` is not there. One weight is positive."""
    draw = random.Random(seed)  # noqa: S311  # not for secrets: the same cases each time
    for _ in range(count):
        names = draw.sample(["web-v1", "web-v2", "web-v3", "web-v4"], draw.randint(1, 4))
        weights = {name: draw.choice(list(SPELLINGS)) for name in names}
        if not any(weights.values()):
            weights[names[0]] = 1000
        yield {name: (draw.choice(SPELLINGS[weight]), weight) for name, weight in weights.items()}


@case_of("SMI-CANARY", "SMI-CAN-07", "SMI-CAN-08", "SMI-CAN-11", "SMI-CAN-12", "SMI-CAN-19",
         features=("Canary",), stage=("canary",))  # fmt: skip
def canary_matrix(bench: Bench) -> None:
    """Random Canaries: nobody answers but who may, to clients with and without a proxy, by Service and ClusterIP."""
    there = frozenset({"web-v1", "web-v2", "web-v3"})
    wrong: list[str] = []
    for split in splits():
        bench.apply(canary("web", {name: written for name, (written, _) in split.items()}))
        weights = {name: weight for name, (_, weight) in split.items()}
        for client, meshed in ((f"{NS}/client", True), (f"{NS}/stranger", False)):
            hosts = (f"web.{NS}", bench.driver.cluster_ips(NS, "web")[0])
            calls = [Call(url=f"http://{h}/", count=bench.limits.few, fresh=not meshed) for h in hosts]
            may = {name.removeprefix("web-") for name in backends(weights, there, there, split=meshed)}
            for way, got in zip(("service", "cluster-ip"), bench.call(client, *calls), strict=True):
                right = set(got.versions) <= may and not got.errors
                bench.tally((f"client:{'meshed' if meshed else 'unmeshed'}", f"way:{way}", "split"), passed=right)
                if not right:
                    wrong.append(f"{split} from {client} by {way}: expected {sorted(may)}, seen {told(got)}")
    if wrong:
        raise UnmetError(f"{len(wrong)} calls", expected="as the oracle says", seen="\n".join(wrong[:8]))


CASES = (mutual_tls_matrix, permissive_matrix, canary_matrix)
