"""Profile SMI-CANARY: who answers, counted."""

from __future__ import annotations

import re

from smeagol.conformance.bench import Bench, told
from smeagol.conformance.call import Call
from smeagol.conformance.driver import Manifest
from smeagol.conformance.model import Maker, UnmetError, case_of
from smeagol.conformance.write import (
    canary,
    deployment,
    mutual_tls,
    namespace,
    pod,
    provider_class,
    root_proxied,
    service,
)

__all__ = ["CASES"]

NS = "smi-canary"
CLIENT = f"{NS}/client"
STRANGER = f"{NS}/stranger"
ROOT = f"http://web.{NS}/"
PORTS = (("http", 80, 8080), ("tcp-echo", 9000, 9000))
ALL = ("v1", "v2", "v3")
ONLY_V1 = canary("web", {"web-v1": 1, "web-v2": 0})


def rule(*rules: str, tcp: bool = False) -> Maker:
    return case_of("SMI-CANARY", *rules, features=("Canary", *(("CanaryTCP",) if tcp else ())), stage=("canary",))


@rule("SMI-CAN-07")
def canary_weights(bench: Bench) -> None:
    """Only the ratio of weights counts, however they are written: 10m, 100m and 1500m; 1 and 500m; 2k and 1e3."""
    bench.apply(canary("web", {"web-v1": "10m", "web-v2": "100m", "web-v3": "1500m"}))
    bench.expect_shares(CLIENT, ROOT, v1=10, v2=100, v3=1500)
    for one, half in (("1", "500m"), ("2k", "1e3")):
        bench.apply(canary("web", {"web-v1": one, "web-v2": half}))
        bench.expect_shares(CLIENT, ROOT, v1=2, v2=1)


@rule("SMI-CAN-08")
def canary_zero_weight(bench: Bench) -> None:
    """A backend of weight zero gets no request at all, as its own application counts them; a single one gets all."""
    bench.apply(ONLY_V1)
    bench.expect_answers(CLIENT, ROOT, "v1")
    before = bench.heard(f"{NS}/web-v2")
    bench.expect_shares(CLIENT, ROOT, v1=1)
    if (after := bench.heard(f"{NS}/web-v2")) != before:
        raise UnmetError("requests at a backend of weight zero", expected="none", seen=after[0] - before[0])
    bench.apply(canary("web", {"web-v3": "1m"}))
    bench.expect_shares(CLIENT, ROOT, v3=1)


@rule("SMI-CAN-06")
def canary_by_address(bench: Bench) -> None:
    """What is dialled decides: every name and the address of the root are split, the address of a Pod is not."""
    bench.apply(ONLY_V1)
    domain = bench.driver.facts()["clusterDomain"]
    hosts = (f"web.{NS}", f"web.{NS}.svc", f"web.{NS}.svc.{domain}", *bench.driver.cluster_ips(NS, "web"))
    for host in hosts:
        bench.expect_answers(CLIENT, f"http://{f'[{host}]' if ':' in host else host}/", "v1")
    bench.expect_answers(CLIENT, f"http://{bench.ip(f'{NS}/web-v2')}:8080/", "v2")


@rule("SMI-CAN-06")
def canary_host_header(bench: Bench) -> None:
    """The Host header has no say, however it is written."""
    bench.apply(ONLY_V1)
    for host in ("WEB", "web.", "web:80", f"web-v2.{NS}", "example.com", "10.0.0.1"):
        bench.expect_answers(CLIENT, ROOT, "v1", headers=(("Host", host),))
        bench.expect_answers(CLIENT, f"http://web-v2.{NS}/", "v2", headers=(("Host", host),))


@rule("SMI-CAN-15")
def canary_backend_by_name(bench: Bench) -> None:
    """A backend called by its own name is not split."""
    bench.apply(ONLY_V1)
    for version in ALL:
        bench.expect_answers(CLIENT, f"http://web-{version}.{NS}/", version)


@rule("SMI-CAN-01")
def canary_root_names(bench: Bench) -> None:
    """The root is named as clients do; a name outside of the cluster domain is invalid."""
    domain = bench.driver.facts()["clusterDomain"]
    for number, root in enumerate(
        ("web", f"web.{NS}", f"web.{NS}.svc", f"web.{NS}.svc.{domain}", f"web.{NS}.svc.{domain}.")
    ):
        version = ALL[number % len(ALL)]
        bench.apply(canary(root, {f"web-{version}": 1}))
        bench.expect_answers(CLIENT, ROOT, version)
    outside = canary(f"web.{NS}.svc.another.domain", {"web-v1": 1}, name="outside")
    bench.apply(outside)
    bench.expect_condition(outside, "Accepted", "False", "Invalid")


@rule("SMI-CAN-11", "SMI-COMMON-02")
def canary_missing_backend(bench: Bench) -> None:
    """A backend that does not exist is left out and named; the others keep their ratio; it joins when it appears."""
    split = canary("web", {"web-v1": 2, "web-v2": 1, "web-v4": 7})
    bench.apply(split)
    bench.expect_shares(CLIENT, ROOT, v1=2, v2=1)
    bench.expect_condition(split, "ResolvedRefs", "False", "BackendNotFound", naming="web-v4")
    with bench.having(pod(NS, "web-v4", "http:8080", version="v4"), service(NS, "web-v4", {"app": "web-v4"})):
        bench.expect_condition(split, "ResolvedRefs", "False", "PortMismatch")
        bench.expect_answers(CLIENT, ROOT, "v1", "v2", "v4")


@rule("SMI-CAN-11")
def canary_no_ready_endpoint(bench: Bench) -> None:
    """A backend without a ready endpoint is left out; that is told, and is no complaint."""
    bench.apply(service(NS, "web-empty", {"nobody": "here"}, PORTS))
    split = canary("web", {"web-v1": 1, "web-empty": 9})
    bench.apply(split)
    bench.expect_answers(CLIENT, ROOT, "v1")
    bench.expect_condition(split, "ResolvedRefs", "True", "NoReadyEndpoints", naming="web-empty")


@rule("SMI-CAN-12")
def canary_none_left(bench: Bench) -> None:
    """Where no backend of positive weight is left, the root's own endpoints serve."""
    bench.apply(canary("web", {"web-v4": 1, "web-v1": 0}))
    bench.expect_answers(CLIENT, ROOT, *ALL)


@rule("SMI-CAN-13")
def canary_port_mismatch(bench: Bench) -> None:
    """A backend that lacks a port of the root is left out on that port, with reason and Event, and serves on others."""
    bench.apply(service(NS, "web-http", {"app": "web-v2"}))
    split = canary("web", {"web-v1": 1, "web-http": 1})
    bench.apply(split)
    bench.expect_answers(CLIENT, ROOT, "v1", "v2")
    bench.expect_answers(CLIENT, f"tcp://web.{NS}:9000", "v1")
    bench.expect_condition(split, "ResolvedRefs", "False", "PortMismatch", naming="web-http")
    bench.expect_event(split, "Warning", "PortMismatch")


@rule("SMI-CAN-10")
def canary_target_port(bench: Bench) -> None:
    """A backend is answered by its own endpoints at its own target port."""
    ports = [("http", 80, 7777), ("tcp-echo", 9000, 9000)]
    bench.apply(pod(NS, "moved", "http:7777", "tcp:9000"), service(NS, "moved", {"app": "moved"}, ports))
    bench.apply(canary("web", {"moved": 1}))
    bench.expect_answers(CLIENT, ROOT, "moved")


@rule("SMI-PORT-05")
def canary_named_target_port(bench: Bench) -> None:
    """A named target port is the one that each Pod has under that name."""
    servers = [pod(NS, f"named-{port}", f"http:{port}", "tcp:9000", labels={"named": "yes"}) for port in (8080, 7070)]
    for server, port in zip(servers, (8080, 7070), strict=True):
        server["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": port}]
    bench.apply(*servers, service(NS, "named", {"named": "yes"}, [("http", 80, "web"), PORTS[1]]))
    bench.apply(canary("web", {"named": 1}))
    bench.expect_answers(CLIENT, ROOT, "named-8080", "named-7070")


@rule("SMI-SVC-02")
def service_of_ready_pods(bench: Bench) -> None:
    """A Pod that is not ready gets nothing that is sent to its Service, and its part again once it is ready."""
    try:
        bench.call(f"{NS}/web-v2", Call(url="http://127.0.0.1:8080/unready"))
        bench.expect_answers(CLIENT, ROOT, "v1", "v3")
    finally:
        bench.call(f"{NS}/web-v2", Call(url="http://127.0.0.1:8080/ready-again"))
    bench.expect_answers(CLIENT, ROOT, *ALL)


@rule("SMI-SVC-02", "SMI-SVC-04")
def service_of_pods_that_end(bench: Bench) -> None:
    """A Pod that is being deleted gets nothing while another is ready, and all while none is, as long as it serves."""
    own, url = "http://127.0.0.1:8080", f"http://tide.{NS}/"
    leaving, staying = (
        pod(NS, name, "http:8080", labels={"tide": "yes"}, terminationGracePeriodSeconds=600)
        for name in ("leaving", "staying")
    )
    bench.apply(leaving, staying, service(NS, "tide", {"tide": "yes"}))
    bench.call(f"{NS}/leaving", Call(url=f"{own}/stay"))
    bench.expect_answers(CLIENT, url, "leaving", "staying")
    bench.driver.delete([leaving])
    try:
        bench.expect_answers(CLIENT, url, "staying")
        bench.call(f"{NS}/staying", Call(url=f"{own}/unready"))
        bench.expect_answers(CLIENT, url, "leaving")
        bench.call(f"{NS}/staying", Call(url=f"{own}/ready-again"))
        bench.expect_answers(CLIENT, url, "staying")
    finally:
        bench.call(f"{NS}/leaving", Call(url=f"{own}/leave"))


@rule("SMI-SVC-06")
def service_that_is_a_name(bench: Bench) -> None:
    """A call to a Service of type ExternalName goes where its name leads, meshed or not, whatever its ports say."""
    plain = pod(NS, "plain", "http:8080", labels={"smi-spec.io/inject": "disabled"})
    bench.apply(plain, service(NS, "plain", {"app": "plain"}), ONLY_V1)
    for target, version in (("plain", "plain"), ("web", "v1")):
        name = f"{target}.{NS}.svc.{bench.driver.facts()['clusterDomain']}"
        ports = [("tcp-any", 80, 7777)]
        bench.apply(service(NS, f"to-{target}", None, ports, type="ExternalName", externalName=name))
        bench.expect_answers(CLIENT, f"http://to-{target}.{NS}/", version)


@rule("SMI-SVC-03")
def canary_backend_that_publishes_all(bench: Bench) -> None:
    """A Pod that is not ready serves a Service with publishNotReadyAddresses, and no other."""
    early = pod(NS, "early", "http:8080", "tcp:9000")
    early["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    bench.apply(early, service(NS, "early", {"app": "early"}, PORTS, publishNotReadyAddresses=True), wait=False)
    bench.apply(canary("web", {"early": 1}))
    bench.expect_answers(CLIENT, ROOT, "early")
    bench.apply(service(NS, "early", {"app": "early"}, PORTS, publishNotReadyAddresses=False))
    bench.expect_answers(CLIENT, ROOT, *ALL)


@rule("SMI-CAN-04")
def canary_root_without_endpoints(bench: Bench) -> None:
    """The root needs neither a selector nor endpoints."""
    bench.apply(service(NS, "shop", None, PORTS))
    bench.apply(canary("shop", {"web-v1": 1, "web-v2": 1}))
    bench.expect_answers(CLIENT, f"http://shop.{NS}/", "v1", "v2")


@rule("SMI-CAN-04")
def canary_new_version(bench: Bench) -> None:
    """Pods of a new version that the root's selector covers get nothing until a weight says so."""
    bench.apply(canary("web", {"web-v1": 1}))
    bench.apply(pod(NS, "web-v4", "http:8080", version="v4", labels={"web": "yes"}))
    bench.expect_answers(CLIENT, ROOT, "v1")
    if heard := bench.heard(f"{NS}/web-v4")[0]:
        raise UnmetError("requests at a Pod that is no backend", expected="none", seen=heard)


@rule("SMI-CAN-03", "SMI-COMMON-02")
def canary_before_its_root(bench: Bench) -> None:
    """A Canary whose root does not exist is accepted, says so, and takes effect when the root appears."""
    split = canary("later", {"web-v2": 1})
    bench.apply(split, wait=False)
    bench.expect_condition(split, "ResolvedRefs", "False", "BackendNotFound", naming="later")
    bench.expect_condition(split, "Accepted", "True", "Accepted")
    bench.apply(service(NS, "later", {"web": "yes"}, PORTS))
    bench.expect_answers(CLIENT, f"http://later.{NS}/", "v2")
    bench.expect_condition(split, "ResolvedRefs", "True", "ResolvedRefs")


@rule("SMI-CAN-05")
def canary_of_an_external_name(bench: Bench) -> None:
    """A root of type ExternalName is invalid: a name has no traffic to divide."""
    bench.apply(service(NS, "elsewhere", None, type="ExternalName", externalName="web.example.com"))
    split = canary("elsewhere", {"web-v1": 1})
    bench.apply(split)
    bench.expect_condition(split, "Accepted", "False", "Invalid")


@rule("SMI-CAN-02")
def canary_of_another_namespace(bench: Bench) -> None:
    """A root elsewhere is not permitted, and its traffic is not divided."""
    split = canary(f"web.{NS}", {"web-v1": 1}, name="stolen", namespace="smi-thief")
    bench.apply(namespace("smi-thief"))
    bench.apply(split, wait=False)
    bench.expect_condition(split, "ResolvedRefs", "False", "RefNotPermitted")
    bench.expect_answers(CLIENT, ROOT, *ALL)


@rule("SMI-CAN-17", "SMI-COMMON-03")
def canary_deleted(bench: Bench) -> None:
    """Deleting the Canary ends the split."""
    bench.apply(ONLY_V1)
    bench.expect_answers(CLIENT, ROOT, "v1")
    bench.delete(ONLY_V1)
    bench.expect_answers(CLIENT, ROOT, *ALL)


@rule("SMI-CAN-16", "SMI-COMMON-04", "SMI-STATUS-02")
def canary_conflict(bench: Bench) -> None:
    """Of two Canaries with one root the older divides it; the other is Conflicted, names it, and takes over later."""
    elder = canary("web", {"web-v1": 1}, name="elder")
    younger = canary("web", {"web-v2": 1}, name="younger")
    bench.apply(elder)
    bench.apply(younger)
    bench.expect_condition(younger, "Accepted", "False", "Conflicted", naming="elder")
    if (found := bench.condition("Programmed", "Canary", NS, "younger")) is not None:
        raise UnmetError("a Canary that is not in force", expected="no condition Programmed", seen=found)
    bench.expect_answers(CLIENT, ROOT, "v1")
    bench.delete(elder)
    bench.expect_condition(younger, "Accepted", "True", "Accepted")
    bench.expect_answers(CLIENT, ROOT, "v2")


@rule("SMI-CAN-14")
def canary_not_followed(bench: Bench) -> None:
    """A backend that is another Canary's root is answered by its own endpoints."""
    bench.apply(canary("web", {"web-v1": 1}), canary("web-v1", {"web-v3": 1}))
    bench.expect_answers(CLIENT, ROOT, "v1")
    bench.expect_answers(CLIENT, f"http://web-v1.{NS}/", "v3")


@rule("SMI-CAN-09", "SMI-COMMON-05")
def canary_refused_at_admission(bench: Bench) -> None:
    """What cannot be right is refused at once, with the reason."""
    bench.refused(canary("web", {"web-v1": 0, "web-v2": "0m"}), "weight")
    bench.refused(canary("web", {"web": 1}), "root")
    bench.refused(canary("web", {"web-v1": "-1"}), "weight")
    bench.refused(canary("web", {}), "backend")
    twice = canary("web", {"web-v1": 1})
    twice["spec"]["backends"] *= 2
    bench.refused(twice, "web-v1")


@rule("SMI-COMMON-06")
def canary_of_an_early_draft(bench: Bench) -> None:
    """A cluster refuses the early drafts and says what they are; on one machine they become what they meant."""
    draft = canary("web", {})
    draft["spec"] = {"services": [{"web-v1": "100%"}, {"web-v2": "0%"}]}
    if bench.driver.mode == "standalone":
        bench.apply(draft)
        bench.expect_answers(CLIENT, ROOT, "v1")
        return
    bench.refused(draft, "draft")
    named = mutual_tls(NS)
    named["spec"]["subjectNames"] = ["web.example"]
    bench.refused(named, "draft")


@rule("SMI-CAN-19")
def canary_and_clients_without_a_proxy(bench: Bench) -> None:
    """Clients without a proxy keep the Service's plain behaviour; each meshed client divides its own requests."""
    bench.apply(ONLY_V1)
    bench.expect_answers(CLIENT, ROOT, "v1")
    got = bench.call(STRANGER, Call(url=ROOT, count=300, fresh=True))[0]
    if set(got.versions) != set(ALL) or got.errors:
        raise UnmetError("the root called by a client without a proxy", expected="all of its Pods", seen=told(got))


@case_of("SMI-CANARY", "SMI-CAN-22", features=("Canary", "CanaryTCP", "CanaryRootProxy"), stage=("canary",))
def canary_root_proxy(bench: Bench) -> None:
    """A client without a proxy is divided by weights, on every port; without the Canary the root is plain again."""
    front, url = service(NS, "front", None, PORTS), f"http://front.{NS}/"
    split = root_proxied(canary("front", {"web-v1": 3, "web-v2": 1, "web-v3": 0}))
    bench.apply(front)
    bench.apply(split)
    bench.expect_shares(STRANGER, url, v1=3, v2=1)
    bench.expect_shares(STRANGER, f"tcp://front.{NS}:9000", v1=3, v2=1)
    bench.apply(root_proxied(canary("front", {"web-v3": 1})))
    bench.expect_answers(STRANGER, url, "v3")
    bench.expect_answers(CLIENT, url, "v3")
    bench.delete(split)
    bench.expect_refused(STRANGER, url)
    bench.apply(service(NS, "front", {"web": "yes"}, PORTS))
    bench.expect_answers(STRANGER, url, *ALL)


@case_of("SMI-CANARY", "SMI-CAN-22", features=("Canary", "CanaryRootProxy"), stage=("canary",))
def canary_root_proxy_and_names(bench: Bench) -> None:
    """The name that a client without a proxy gives itself does not arrive through a root proxy."""
    header = (("x-sme-identity", "spiffe://forged.example/ns/a/sa/b"),)
    plain = pod(NS, "plain", "http:8080", labels={"smi-spec.io/inject": "disabled"})
    bench.apply(plain, service(NS, "plain", {"app": "plain"}), service(NS, "front", None))
    bench.apply(root_proxied(canary("front", {"plain": 1})))
    for url, names in ((f"http://plain.{NS}/", {header[0][1]}), (f"http://front.{NS}/", {"-"})):
        bench.expect_answers(STRANGER, url, "plain", headers=header)
        got = bench.call(STRANGER, Call(url=url, count=bench.limits.few, headers=header))[0]
        if set(got.identities) != names or got.errors:
            raise UnmetError(f"the identity at a server without a proxy, by {url}", expected=names, seen=got.identities)


@rule("SMI-CAN-20", tcp=True)
def canary_connections(bench: Bench) -> None:
    """Other protocols than HTTP are divided connection by connection; weight zero gets none."""
    url = f"tcp://web.{NS}:9000"
    bench.apply(canary("web", {"web-v1": 3, "web-v2": 1, "web-v3": 0}))
    bench.expect_shares(CLIENT, url, v1=3, v2=1)
    bench.apply(canary("web", {"web-v2": 1}))
    bench.expect_answers(CLIENT, url, "v2")


@rule("SMI-PORT-01", "SMI-CAN-20")
def canary_grpc(bench: Bench) -> None:
    """gRPC calls on one connection are divided one by one: the port declares itself by its name or its appProtocol."""
    _divided(bench, "rpc", [("grpc-api", 80, 9090), ("main", 81, 9090)], "http:8080", "grpc:9090",
             protocols=("", "kubernetes.io/h2c"))  # fmt: skip
    for port in (80, 81):
        bench.expect_shares(CLIENT, f"grpc://rpc.{NS}:{port}/", v1=3, v2=1)


@rule("SMI-PORT-02", tcp=True)
def canary_undeclared_ports(bench: Bench) -> None:
    """Where nothing is declared the first bytes decide; an appProtocol that nobody knows says more than a name."""
    unknown = "example.com/unknown"
    _divided(bench, "mixed", [("main", 80, 8080), ("tcp-main", 81, 8080), ("http-main", 82, 9000)],
             "http:8080", "tcp:9000", protocols=("", unknown, unknown))  # fmt: skip
    for port in (80, 81):
        bench.expect_shares(CLIENT, f"http://mixed.{NS}:{port}/", v1=3, v2=1)
    bench.expect_answers(CLIENT, f"tcp://mixed.{NS}:82", "v1", "v2")


def _divided(
    bench: Bench, root: str, ports: list[tuple[str, int, int]], *listens: str, protocols: tuple[str, ...]
) -> None:
    """A root with these ports, divided three to one between v1 and v2. `protocols`: each port's appProtocol, or ""."""
    for name in (root, f"{root}-v1", f"{root}-v2"):
        made = service(NS, name, {root: "yes"} if name == root else {"app": name}, ports)
        for port, protocol in zip(made["spec"]["ports"], protocols, strict=True):
            if protocol:
                port["appProtocol"] = protocol
        bench.apply(made)
    bench.apply(*(pod(NS, f"{root}-{v}", *listens, version=v, labels={root: "yes"}) for v in ("v1", "v2")))
    bench.apply(canary(root, {f"{root}-v1": 3, f"{root}-v2": 1}))


@case_of("SMI-CANARY", "SMI-CAN-06", features=("Canary", "CanaryHeadless"), stage=("canary",))
def canary_headless(bench: Bench) -> None:
    """A headless root is meant by its endpoints: what is sent to them by its name is split."""
    port = [("http", 8080, 8080)]
    bench.apply(service(NS, "bare", {"app": "web-v3"}, port, clusterIP="None"))
    bench.apply(service(NS, "bare-v1", {"app": "web-v1"}, port))
    split = canary("bare", {"bare-v1": 1})
    bench.apply(split)
    bench.expect_answers(CLIENT, f"http://bare.{NS}:8080/", "v1")
    bench.delete(split)
    bench.expect_answers(CLIENT, f"http://bare.{NS}:8080/", "v3")


@case_of("SMI-CANARY", "SMI-STATUS-07", features=("Canary",), lacking=("CanaryHeadless",), stage=("canary",))
def canary_says_what_it_cannot_do(bench: Bench) -> None:
    """A provider that cannot divide a headless root says so, and makes nothing of it."""
    bench.apply(service(NS, "bare", {"app": "web-v3"}, [("http", 8080, 8080)], clusterIP="None"))
    bench.apply(service(NS, "bare-v1", {"app": "web-v1"}, [("http", 8080, 8080)]))
    split = canary("bare", {"bare-v1": 1})
    bench.apply(split, wait=False)
    bench.expect_unsupported(split, "CanaryHeadless", "spec.service")
    bench.expect_nothing_made(split)


@rule("SMI-CAN-21")
def canary_changes_under_load(bench: Bench) -> None:
    """Changing weights, adding and removing backends and deleting the Canary fails no request."""
    bench.apply(ONLY_V1)
    load = bench.calling(CLIENT, Call(url=ROOT, seconds=15, rate=100))
    for weights in ({"web-v1": 1, "web-v2": 1}, {"web-v1": 0, "web-v2": 1}, {"web-v3": 1}, {"web-v1": 1, "web-v3": 2}):
        bench.apply(canary("web", weights))
        bench.expect_answers(CLIENT, ROOT, *(name.removeprefix("web-") for name, weight in weights.items() if weight))
    bench.delete(ONLY_V1)
    bench.expect_answers(CLIENT, ROOT, *ALL)
    got = load.result()
    if got.errors or any(code != "200" for code in got.statuses):
        raise UnmetError("requests while the Canary changed", expected="none failed", seen=told(got))


@rule("SMI-CAN-18")
def canary_rollout(bench: Bench) -> None:
    """The documented rollout, word for word: a version comes, is tried, gets a third, then all; the old one goes."""

    def version(name: str) -> tuple[Manifest, Manifest]:
        full = f"foobar-{name}"
        made = deployment(NS, full, "http:8080", version=name, labels={"foobar": "yes"})
        return made, service(NS, full, {"app": full})

    url, old, new = f"http://foobar.{NS}/", version("v1"), version("v2")
    bench.apply(*old, service(NS, "foobar", {"foobar": "yes"}))
    bench.apply(canary("foobar", {"foobar-v1": "1", "foobar-v2": "0m"}))
    bench.expect_shares(CLIENT, url, v1=1)
    bench.apply(*new)
    bench.expect_answers(CLIENT, f"http://foobar-v2.{NS}/", "v2")
    bench.expect_shares(CLIENT, url, v1=1)
    bench.apply(canary("foobar", {"foobar-v1": "1", "foobar-v2": "500m"}))
    bench.expect_shares(CLIENT, url, v1=2, v2=1)
    bench.apply(canary("foobar", {"foobar-v2": "500m"}))
    bench.expect_shares(CLIENT, url, v2=1)
    bench.delete(*old)
    bench.expect_shares(CLIENT, url, v2=1)
    bench.delete(canary("foobar", {"foobar-v2": "500m"}))
    bench.expect_answers(CLIENT, url, "v2")


@rule("SMI-STATUS-01", "SMI-STATUS-04", "SMI-STATUS-05", "SMI-STATUS-09", "SMI-STATUS-13")
def canary_status(bench: Bench) -> None:
    """Programmed means it: once it is true for a generation, the very next request obeys. Each condition is dated."""
    since: set[str] = set()
    for turn in range(6):
        version = ALL[turn % len(ALL)]
        split = canary("web", {f"web-{version}": 1})
        bench.apply(split)
        got = bench.call(CLIENT, Call(url=ROOT, count=20))[0]
        if set(got.versions) != {version}:
            raise UnmetError("requests right after Programmed=True", expected=f"{version} alone", seen=told(got))
        status = bench.status("Canary", NS, "web")
        generation = status.get("observedGeneration", 0)
        for each in ("Accepted", "ResolvedRefs", "Programmed", "FullySupported"):
            found = bench.condition(each, "Canary", NS, "web")
            if found is None or found.status != "True" or found.generation != generation or found.reason != each:
                raise UnmetError(f"condition {each} of a Canary in force", expected=f"True, {each}", seen=found)
        since |= {c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "Accepted"}
        if status.get("shares") != f"web-{version} 100%" or not re.fullmatch(r"(\d+)/\1", status.get("ready", "")):
            seen = {name: status.get(name) for name in ("shares", "ready")}
            raise UnmetError("what people read of a Canary in force", expected=f"web-{version} 100%, n/n", seen=seen)
    if len(since) != 1:
        raise UnmetError("lastTransitionTime of Accepted, which was true throughout", expected="one", seen=since)
    entries = [entry["controllerName"] for entry in bench.status("Canary", NS, "web").get("providers", ())]
    if len(entries) != 1:
        raise UnmetError("status.providers of a Canary", expected="one entry", seen=entries)


@rule("SMI-STATUS-10")
def canary_events(bench: Bench) -> None:
    """A condition that holds no longer is told by a Warning; one that holds again by an Event of type Normal."""
    split = canary("web", {"web-v1": 1, "web-late": 1})
    bench.apply(split)
    bench.expect_condition(split, "ResolvedRefs", "False", "BackendNotFound")
    bench.expect_event(split, "Warning", "BackendNotFound")
    bench.apply(service(NS, "web-late", {"app": "web-v2"}, PORTS))
    bench.expect_condition(split, "ResolvedRefs", "True", "ResolvedRefs")
    bench.expect_event(split, "Normal", "ResolvedRefs")


@rule("SMI-CLASS-02", "SMI-CLASS-04")
def class_of_another_controller(bench: Bench) -> None:
    """An object of another controller is left alone; one that names a class that does not exist is told so."""
    bench.apply(provider_class("smi-other", "example.com/other"))
    split = canary("web", {"web-v1": 1})
    split["spec"]["providerClassName"] = "smi-other"
    bench.apply(split, wait=False)
    bench.expect_answers(CLIENT, ROOT, *ALL)
    if conditions := bench.status("Canary", NS, "web").get("conditions"):
        raise UnmetError("the status of another controller's Canary", expected="nothing written", seen=conditions)
    lost = canary("web-v3", {"web-v1": 1}, name="lost")
    lost["spec"]["providerClassName"] = "smi-nowhere"
    bench.apply(lost, wait=False)
    bench.expect_condition(lost, "Accepted", "False", "NoMatchingProvider")
    bench.expect_answers(CLIENT, f"http://web-v3.{NS}/", "v3")


@rule("SMI-CLASS-01")
def class_by_namespace(bench: Bench) -> None:
    """An object that names no class is of the class that its namespace's label names; its own word comes first."""
    labelled = namespace("smi-labelled")
    labelled["metadata"]["labels"] = {"smi-spec.io/provider-class": "smi-other"}
    bench.apply(provider_class("smi-other", "example.com/other"), labelled)
    left, own = (canary(name, {"web-v1": 1}, namespace="smi-labelled") for name in ("left", "own"))
    own["spec"]["providerClassName"] = bench.provider_class
    bench.apply(left, wait=False)
    bench.apply(own, wait=False)
    bench.expect_condition(own, "Accepted", "True", "Accepted")
    if conditions := bench.status("Canary", "smi-labelled", "left").get("conditions"):
        raise UnmetError("the status of another controller's Canary", expected="nothing written", seen=conditions)


CASES = (
    canary_weights,
    canary_zero_weight,
    canary_by_address,
    canary_host_header,
    canary_backend_by_name,
    canary_root_names,
    canary_missing_backend,
    canary_no_ready_endpoint,
    canary_none_left,
    canary_port_mismatch,
    canary_target_port,
    canary_named_target_port,
    service_of_ready_pods,
    service_of_pods_that_end,
    service_that_is_a_name,
    canary_backend_that_publishes_all,
    canary_root_without_endpoints,
    canary_new_version,
    canary_before_its_root,
    canary_of_an_external_name,
    canary_of_another_namespace,
    canary_deleted,
    canary_conflict,
    canary_not_followed,
    canary_refused_at_admission,
    canary_of_an_early_draft,
    canary_and_clients_without_a_proxy,
    canary_root_proxy,
    canary_root_proxy_and_names,
    canary_connections,
    canary_grpc,
    canary_undeclared_ports,
    canary_headless,
    canary_says_what_it_cannot_do,
    canary_changes_under_load,
    canary_rollout,
    canary_status,
    canary_events,
    class_of_another_controller,
    class_by_namespace,
)
