"""Profile SMI-MUTUALTLS: who gets in, under which names, and what stays as it was."""

from __future__ import annotations

from datetime import timedelta

from smeagol.conformance.bench import Bench, told
from smeagol.conformance.call import Call, Tls
from smeagol.conformance.certificates import Shown, self_signed, shown
from smeagol.conformance.model import Maker, NotAllowedError, NotHereError, UnmetError, case_of
from smeagol.conformance.write import endpoint_slice, mutual_tls, namespace, pod, service

__all__ = ["CASES"]

CLIENT, PLAIN, STRANGER = "smi-clients/client", "smi-clients/plain", "smi-clients/stranger"
FORGED = tuple((name, "admin.example") for name in ("x-sme-identity", "X-SME-Identity"))


def rule(*rules: str, feature: str = "") -> Maker:
    stage = ("mutual-tls", *(("permissive",) if feature == "MutualTLSPermissive" else ()))
    return case_of("SMI-MUTUALTLS", *rules, features=("MutualTLS", *((feature,) if feature else ())), stage=stage)


def spiffe(bench: Bench, namespace: str) -> str:
    return f"spiffe://{bench.driver.facts()['trustDomain']}/ns/{namespace}/sa/default"


@rule("SMI-MTLS-01", "SMI-MTLS-03", "SMI-MTLS-04")
def mutual_tls_between_pods(bench: Bench) -> None:
    """Plain HTTP of a meshed client reaches a Strict server as such; servers without MutualTLS are called as ever."""
    for client in (CLIENT, PLAIN):
        for server in ("strict", "plain", "outside"):
            bench.expect_answers(client, f"http://web.smi-{server}/", server)


@rule("SMI-MTLS-05", "SMI-MTLS-19")
def mutual_tls_refuses_plaintext(bench: Bench) -> None:
    """Strict refuses clients without TLS on every port, by Service and by Pod; the application hears nothing."""
    before = bench.heard("smi-strict/web")
    for url in ("http://web.{}/", "http://web.{}:81/", "tcp://web.{}:9000", "first://web.{}:9001"):
        bench.expect_refused(STRANGER, url.format("smi-strict"))
    bench.expect_refused(STRANGER, f"http://{bench.ip('smi-strict/web')}:8080/")
    _silent(bench, before)


@rule("SMI-MTLS-05", "SMI-MTLS-19")
def mutual_tls_refuses_strangers_with_tls(bench: Bench) -> None:
    """Strict refuses TLS clients with no certificate or one of another authority; the application hears nothing."""
    before = bench.heard("smi-strict/web")
    certificate, key = self_signed("client.example")
    for tls in (Tls(), Tls(certificate=certificate.decode(), key=key.decode())):
        for port in (80, 81, 9000):
            bench.expect_refused(STRANGER, f"https://web.smi-strict:{port}/", tls=tls)
    _silent(bench, before)


def _silent(bench: Bench, before: tuple[int, int]) -> None:
    if (after := bench.heard("smi-strict/web")) != before:
        raise UnmetError("what the application has heard (requests, connections)", expected=before, seen=after)


@rule("SMI-MTLS-17")
def mutual_tls_and_other_protocols(bench: Bench) -> None:
    """Raw TCP, servers that speak first, and applications that encrypt by themselves keep working."""
    own = Tls(server_name="own.example")
    for server in ("strict", "plain", "outside"):
        host = f"web.smi-{server}"
        bench.expect_answers(CLIENT, f"tcp://{host}:9000", server)
        bench.expect_answers(CLIENT, f"first://{host}:9001", server)
        got = bench.call(CLIENT, Call(url=f"https://{host}/", tls=own))[0]
        if dict(got.versions) != {server: 1}:
            raise UnmetError(f"an application's own TLS at {host}", expected=f"{server} answers", seen=told(got))


@rule("SMI-MTLS-18")
def mutual_tls_and_probes(bench: Bench) -> None:
    """Probes reach the application under Strict: its Pod is ready while it says so, and not while it does not.

    By HTTP; those by TCP, by gRPC and by a command find it too.
    """

    def readiness(wanted: bool) -> None:
        found = bench.driver.pod("smi-strict", "web")
        if found is None or found.ready is not wanted:
            raise UnmetError("readiness of a Pod under Strict", expected=f"ready: {wanted}", seen=found)

    command = ["python3", "-c", "pass"]  # the one program that the image is known to have
    probes: dict[str, dict[str, object]] = {
        "by-tcp": {"tcpSocket": {"port": 8080}},
        "by-grpc": {"grpc": {"port": 9090}},
        "by-command": {"exec": {"command": command}},
    }
    for name, probe in probes.items():
        server = pod("smi-strict", name, "http:8080", "grpc:9090")
        server["spec"]["containers"][0]["readinessProbe"] = {**probe, "periodSeconds": 1, "timeoutSeconds": 10}
        bench.apply(server)
    readiness(True)
    try:
        bench.call("smi-strict/web", Call(url="http://127.0.0.1:8080/unready"))
        bench.until(lambda: readiness(False), seconds=bench.limits.condition)
    finally:
        bench.call("smi-strict/web", Call(url="http://127.0.0.1:8080/ready-again"))
    bench.until(lambda: readiness(True), seconds=bench.limits.condition)


@rule("SMI-COMMON-03")
def mutual_tls_ends_with_its_object(bench: Bench) -> None:
    """Plain traffic before and after a MutualTLS, none while it is there."""
    url = "http://web.smi-plain/"
    bench.expect_answers(STRANGER, url, "plain")
    with bench.having(mutual_tls("smi-plain")):
        bench.expect_refused(STRANGER, url)
        bench.expect_answers(CLIENT, url, "plain")
    bench.expect_answers(STRANGER, url, "plain")
    bench.expect_answers(CLIENT, url, "plain")


@rule("SMI-POD-04")
def mutual_tls_selects_by_labels(bench: Bench) -> None:
    """A selector that reaches no Pod of its namespace is told, and does nothing; matchExpressions count too."""
    nobody = mutual_tls("smi-plain", "nobody", {"app": "nobody"})
    bench.apply(nobody, wait=False)
    bench.expect_condition(nobody, "Accepted", "True", "Accepted")
    bench.expect_condition(nobody, "ResolvedRefs", "False", "NoPodsSelected")
    bench.expect_answers(STRANGER, "http://web.smi-plain/", "plain")
    chosen = mutual_tls("smi-plain", "chosen")
    chosen["spec"]["selector"] = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "other"]}]}
    bench.apply(chosen)
    bench.expect_refused(STRANGER, "http://web.smi-plain/")


@rule("SMI-POD-02")
def mutual_tls_and_pods_kept_out(bench: Bench) -> None:
    """A Pod labelled `smi-spec.io/inject: disabled` has no proxy, whatever selects it, and is not selected."""
    label = {"smi-spec.io/inject": "disabled"}
    bench.apply(pod("smi-strict", "free", "http:8080", labels=label), service("smi-strict", "free", {"app": "free"}))
    bench.expect_answers(STRANGER, "http://free.smi-strict/", "free")
    bench.expect_answers(CLIENT, "http://free.smi-strict/", "free")
    # Nobody is there who would remove what a client says of itself.
    for client in (STRANGER, CLIENT):
        _known_as(bench, client, "http://free.smi-strict/", "admin.example", headers=FORGED[:1])


@rule("SMI-POD-05")
def mutual_tls_and_pods_that_run(bench: Bench) -> None:
    """A selected Pod that has run without a proxy goes on as it is, and is named in status."""
    bench.apply(namespace("smi-late", "disabled"))
    bench.apply(pod("smi-late", "web", "http:8080", version="late"), service("smi-late", "web", {"app": "web"}))
    before = bench.driver.pod("smi-late", "web")
    bench.apply(namespace("smi-late", "enabled"))
    selecting = mutual_tls("smi-late")
    bench.apply(selecting, wait=False)
    bench.expect_condition(selecting, "Programmed", "False", "PodsNotInjected", naming="web")
    for client in (CLIENT, STRANGER):
        bench.expect_answers(client, "http://web.smi-late/", "late")
    if (after := bench.driver.pod("smi-late", "web")) != before:
        raise UnmetError("a Pod that ran before it was selected", expected=before, seen=after)


@rule("SMI-POD-01", "SMI-POD-06")
def mutual_tls_and_pods_once_selected(bench: Bench) -> None:
    """A selected Pod is made with a proxy, and keeps it: no longer selected, it passes all on, and has its identity."""
    url, chosen = "http://web.smi-once/", mutual_tls("smi-once")
    bench.apply(namespace("smi-once"))
    bench.apply(chosen, wait=False)
    bench.expect_condition(chosen, "Accepted", "True", "Accepted")
    bench.apply(pod("smi-once", "web", "http:8080", version="once"), service("smi-once", "web", {"app": "web"}))
    bench.expect_refused(STRANGER, url)
    bench.expect_answers(CLIENT, url, "once")
    bench.delete(chosen)
    for client in (CLIENT, STRANGER):
        bench.expect_answers(client, url, "once")
    bench.expect_answers("smi-once/web", "http://web.smi-strict/", "strict")
    if "MutualTLSIdentityHeader" in bench.features:
        _known_as(bench, "smi-once/web", "http://web.smi-strict/", spiffe(bench, "smi-once"))


@rule("SMI-PORT-06")
def mutual_tls_and_datagrams(bench: Bench) -> None:
    """Datagrams reach a Strict server as without a mesh, from anybody; what comes by TCP to the same port does not."""
    names = service("smi-strict", "names", {"app": "names"}, [("dns-tcp", 9053, 9053), ("dns", 9053, 9053)])
    names["spec"]["ports"][1]["protocol"] = "UDP"
    bench.apply(pod("smi-strict", "names", "http:8080", "udp:9053", "tcp:9053"), names)
    for client in (CLIENT, PLAIN, STRANGER):
        bench.expect_answers(client, "udp://names.smi-strict:9053", "names")
    bench.expect_answers(CLIENT, "tcp://names.smi-strict:9053", "names")
    bench.expect_refused(STRANGER, "tcp://names.smi-strict:9053")


@rule("SMI-SVC-01", "SMI-SVC-05")
def mutual_tls_by_each_address(bench: Bench) -> None:
    """A Strict server answers meshed clients by ClusterIP, by a headless Service and by its Pod's own address."""
    hosts = [f"{f'[{ip}]' if ':' in ip else ip}:80" for ip in bench.driver.cluster_ips("smi-strict", "web")]
    for host in (*hosts, "direct.smi-strict:8080", f"{bench.ip('smi-strict/web')}:8080"):
        for client in (CLIENT, PLAIN):
            bench.expect_answers(client, f"http://{host}/", "strict")


def certificate(bench: Bench, host: str) -> Shown:
    """What a server shows to somebody who shows nothing."""
    got = bench.call(STRANGER, Call(url=f"https://{host}/", tls=Tls(), timeout=5))[0]
    if not got.certificate:
        raise UnmetError(f"TLS at {host}", expected="a server certificate", seen=told(got))
    return shown(got.certificate)


def service_names(bench: Bench, name: str, namespace: str) -> set[str]:
    short = f"{name}.{namespace}"
    return {name, short, f"{short}.svc", f"{short}.svc.{bench.driver.facts()['clusterDomain']}"}


@rule("SMI-MTLS-06", "SMI-MTLS-13", feature="MutualTLSServerNames")
def server_names(bench: Bench) -> None:
    """The certificate has the Pod's address and the names of its Services, no more, and is good for serving only."""
    found = bench.driver.pod("smi-strict", "web")
    expected = {*(found.ips if found else ()), *service_names(bench, "web", "smi-strict"),
                *service_names(bench, "direct", "smi-strict")}  # fmt: skip
    for host in ("web.smi-strict:80", f"{bench.ip('smi-strict/web')}:8080"):
        cert = certificate(bench, host)
        if cert.names != expected:
            raise UnmetError("names in a server certificate", expected=sorted(expected), seen=sorted(cert.names))
        if not cert.server or cert.client:
            raise UnmetError("purpose of a server certificate", expected="serving alone", seen=cert)


@rule("SMI-MTLS-06", "SMI-MTLS-02", feature="MutualTLSServerNames")
def server_names_follow(bench: Bench) -> None:
    """Names follow membership without a restart, and ordinary clients can verify them."""
    before = bench.driver.pod("smi-strict", "web")
    alias = service("smi-strict", "alias", {"app": "web"})

    def has(wanted: bool) -> None:
        found = certificate(bench, f"{bench.ip('smi-strict/web')}:8080").names
        if (service_names(bench, "alias", "smi-strict") <= found) is not wanted:
            raise UnmetError("the new Service's names", expected=f"in the certificate: {wanted}", seen=sorted(found))

    with bench.having(alias):
        bench.until(lambda: has(True), seconds=bench.limits.effect)
        bench.expect_answers(CLIENT, "http://alias.smi-strict/", "strict")
    bench.until(lambda: has(False), seconds=bench.limits.effect)
    after = bench.driver.pod("smi-strict", "web")
    if before is None or after is None or before.restarts != after.restarts:
        raise UnmetError("the Pod whose names changed", expected="not restarted", seen=after)


@rule("SMI-MTLS-07", feature="MutualTLSServerNames")
def server_names_before_ready(bench: Bench) -> None:
    """The Service's names are there before the Pod is ready."""
    late = pod("smi-strict", "late", "http:8080")
    late["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    bench.apply(late, service("smi-strict", "late", {"app": "late"}), wait=False)

    def started() -> None:
        found = bench.driver.pod("smi-strict", "late")
        if found is None or not found.ips:
            raise UnmetError("Pod smi-strict/late", expected="an address", seen=found)
        certificate(bench, f"{bench.ip('smi-strict/late')}:8080")

    def named() -> None:
        found = bench.driver.pod("smi-strict", "late")
        cert = certificate(bench, f"{bench.ip('smi-strict/late')}:8080")
        if found is None or found.ready or not service_names(bench, "late", "smi-strict") <= cert.names:
            raise UnmetError("names of a Pod that is not ready", expected="its Service's", seen=sorted(cert.names))

    bench.until(started, seconds=bench.limits.start)
    bench.until(named, seconds=bench.limits.effect)


@rule("SMI-MTLS-22")
def certificates_are_short_lived(bench: Bench) -> None:
    """Certificates of workloads live at most 24 hours (and some minutes for clocks that differ)."""
    lifetime = certificate(bench, "web.smi-strict:80").lifetime
    if lifetime > timedelta(hours=24, minutes=15):
        raise UnmetError("life of a server certificate", expected="at most 24 hours", seen=lifetime)


@rule("SMI-MTLS-15", "SMI-MTLS-08", feature="MutualTLSIdentityHeader")
def identity_header(bench: Bench) -> None:
    """The application learns its client's default identity from the header `x-sme-identity`, on every request."""
    for client in (CLIENT, PLAIN):
        for port in (80, 81):
            _known_as(bench, client, f"http://web.smi-strict:{port}/", spiffe(bench, "smi-clients"))


def _known_as(
    bench: Bench,
    client: str,
    url: str,
    identity: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    fresh: bool = False,
) -> None:
    def check() -> None:
        got = bench.call(client, Call(url=url, count=10, headers=headers, fresh=fresh))[0]
        if set(got.identities) != {identity} or got.errors:
            raise UnmetError(
                f"the identity of {client} at {url}", expected=identity, seen=f"{got.identities}, {told(got)}"
            )

    bench.settles(check)


@rule("SMI-MTLS-16", feature="MutualTLSIdentityHeader")
def identity_cannot_be_forged(bench: Bench) -> None:
    """A header of that name that comes from anyone else is removed, on declared and undeclared ports, plaintext too."""
    own = spiffe(bench, "smi-clients")
    for host in ("web.smi-strict:80", "web.smi-strict:81", f"{bench.ip('smi-strict/web')}:8080"):
        _known_as(bench, PLAIN, f"http://{host}/", own, headers=FORGED)
    for client in (CLIENT, STRANGER):
        for host in ("web.smi-plain:80", "web.smi-plain:81"):
            _known_as(bench, client, f"http://{host}/", "-", headers=FORGED)


@rule("SMI-PORT-03", feature="MutualTLSIdentityHeader")
def identity_on_contested_ports(bench: Bench) -> None:
    """A port that is HTTP to one Service and raw bytes to another is HTTP, and forged headers are removed."""
    bench.apply(service("smi-strict", "contrary", {"app": "web"}, [("tcp-contrary", 83, 8080)]))
    for host in ("contrary.smi-strict:83", "web.smi-strict:80"):
        _known_as(bench, PLAIN, f"http://{host}/", spiffe(bench, "smi-clients"), headers=FORGED, fresh=True)


@rule("SMI-PORT-04", feature="MutualTLSIdentityHeader")
def identity_and_services_of_others(bench: Bench) -> None:
    """A Service of another namespace that leads to a Pod has no say in its ports: forged headers are removed there."""
    others = "smi-others"
    address = bench.ip("smi-strict/web").strip("[]")
    bench.apply(namespace(others), service(others, "bytes", None, [("tcp", 80, 8081)]))
    try:
        bench.apply(endpoint_slice(others, "bytes", address, ("tcp", 8081)))
    except NotAllowedError as error:
        raise NotHereError(f"a Service that leads to Pods of another namespace: {error}") from None
    bench.expect_answers(PLAIN, f"http://bytes.{others}/", "strict")
    bench.apply(mutual_tls("smi-strict", "later"))  # once it is in force, the server knows all that came before
    own = spiffe(bench, "smi-clients")
    for host in (f"bytes.{others}", "web.smi-strict:81", f"{bench.ip('smi-strict/web')}:8081"):
        _known_as(bench, PLAIN, f"http://{host}/", own, headers=FORGED, fresh=True)


@rule("SMI-MTLS-15", feature="MutualTLSIdentityHeader")
def identity_of_outsiders(bench: Bench) -> None:
    """Of several names the DNS names come first, then the URIs: of a client outside the mesh, else of a Pod."""
    dns, uris = ["b.example", "a.example"], ["https://b.example/x", "spiffe://a.example/y"]
    found = bench.driver.credentials([uris[0], dns[0], uris[1], dns[1]])
    if found is not None:
        tls = Tls(roots=found.roots, certificate=found.certificate, key=found.key)
        got = bench.call(STRANGER, Call(url="https://web.smi-strict:80/", tls=tls, headers=FORGED))[0]
        if dict(got.identities) != {",".join(dns + uris): 1}:
            raise UnmetError(
                "x-sme-identity of four names", expected=dns + uris, seen=dict(got.identities) or told(got)
            )
    elif "MutualTLSClientNames" in bench.features:
        bench.apply(mutual_tls("smi-clients", "many", {"app": "client"}, names=[uris[0], dns[0], uris[1], dns[1]]))
        wanted = [set(dns), {*uris, spiffe(bench, "smi-clients")}]
        bench.settles(lambda: _in_parts(bench, wanted))
    else:
        raise NotHereError("nobody can have a certificate of several names here")


def _in_parts(bench: Bench, wanted: list[set[str]]) -> None:
    """First the one part of the names in any order, then the other."""
    url = f"http://{bench.ip('smi-strict/web')}:8081/"
    got = bench.call(CLIENT, Call(url=url, fresh=True, headers=FORGED))[0]
    names = next(iter(got.identities), "").split(",")
    first = len(wanted[0])
    if [set(names[:first]), set(names[first:])] != wanted:
        raise UnmetError("x-sme-identity of a client with several names", expected=wanted, seen=names)


@case_of(
    "SMI-MUTUALTLS",
    "SMI-MTLS-08",
    "SMI-MTLS-14",
    features=("MutualTLS", "MutualTLSClientNames", "MutualTLSIdentityHeader"),
    stage=("mutual-tls",),
)
def client_names(bench: Bench) -> None:
    """The granted names of all MutualTLS that select a Pod are in its certificate, and always the default identity."""
    # By the Pod's address and on fresh connections: those to a Service (8080 is that of `direct`) may be kept.
    url, own = f"http://{bench.ip('smi-strict/web')}:8081/", spiffe(bench, "smi-clients")
    one = mutual_tls("smi-clients", "one", {"app": "client"}, names=["one.smi-conformance.example"])
    two = mutual_tls("smi-clients", "two", {"app": "client"}, names=["two.smi-conformance.example"])
    bench.apply(one)
    _known_as(bench, CLIENT, url, f"one.smi-conformance.example,{own}", fresh=True)
    bench.apply(two)
    _known_as(bench, CLIENT, url, f"one.smi-conformance.example,two.smi-conformance.example,{own}", fresh=True)
    _known_as(bench, PLAIN, url, own, fresh=True)


@rule("SMI-MTLS-09", "SMI-MTLS-10", "SMI-MTLS-12", feature="MutualTLSClientNames")
def client_names_of_others(bench: Bench) -> None:
    """Names of other namespaces, and those that another has claimed before, are refused; the object is in force."""
    domain = bench.driver.facts()["clusterDomain"]
    first = mutual_tls("smi-clients", "first", {"app": "client"}, names=["claimed.smi-conformance.example"])
    bench.apply(first)
    bench.refused(mutual_tls("smi-clients", "comma", names=["a.example,b.example"]), "comma")
    second = mutual_tls("smi-plain", "second", names=["claimed.smi-conformance.example"])
    bench.apply(second)
    bench.expect_condition(second, "Accepted", "False", "Conflicted", naming="smi-clients")
    bench.expect_refused(STRANGER, "http://web.smi-plain/")
    bench.delete(second)
    foreign = mutual_tls("smi-plain", "foreign", names=[f"web.smi-strict.svc.{domain}"])
    bench.apply(foreign)
    bench.expect_condition(foreign, "Accepted", "False", "Invalid")
    bench.expect_refused(STRANGER, "http://web.smi-plain/")


@rule("SMI-MTLS-20", feature="MutualTLSPermissive")
def permissive(bench: Bench) -> None:
    """Permissive serves clients in plaintext and by mutual TLS."""
    for client in (CLIENT, PLAIN, STRANGER):
        for url in ("http://web.{}/", "http://web.{}:81/", "tcp://web.{}:9000"):
            bench.expect_answers(client, url.format("smi-permissive"), "permissive")


@rule("SMI-MTLS-14", feature="MutualTLSPermissive")
def strict_beats_permissive(bench: Bench) -> None:
    """Of several MutualTLS on one Pod, Strict wins, and only while it is there."""
    url = "http://web.smi-permissive/"
    bench.expect_answers(STRANGER, url, "permissive")
    with bench.having(mutual_tls("smi-permissive", "firm")):
        bench.expect_refused(STRANGER, url)
        bench.expect_answers(CLIENT, url, "permissive")
    bench.expect_answers(STRANGER, url, "permissive")


@case_of(
    "SMI-MUTUALTLS",
    "SMI-STATUS-07",
    features=("MutualTLS",),
    lacking=("MutualTLSClientNames",),
    stage=("mutual-tls",),
)
def mutual_tls_says_what_it_cannot_do(bench: Bench) -> None:
    """A provider that puts no chosen names into certificates says so of a MutualTLS that has some."""
    asking = mutual_tls("smi-clients", "asking", {"app": "plain"}, names=["asking.smi-conformance.example"])
    bench.apply(asking, wait=False)
    bench.expect_unsupported(asking, "MutualTLSClientNames", "spec.clientSubjectNames")


@case_of("SMI-MUTUALTLS", "SMI-MTLS-23", "SMI-STATUS-07", features=(), lacking=("MutualTLS",), stage=("canary",))
def mutual_tls_that_cannot_be_enforced(bench: Bench) -> None:
    """A provider without mutual TLS makes nothing of a MutualTLS, and says so: half a protection looks like a whole."""
    asking = mutual_tls("smi-canary", "asking")
    bench.apply(asking, wait=False)
    bench.expect_condition(asking, "Programmed", "False", "Unsupported")
    bench.expect_unsupported(asking, "MutualTLS", "spec")
    bench.expect_nothing_made(asking)


@rule("SMI-CLASS-08")
def features_are_declared(bench: Bench) -> None:
    """The ProviderClass is accepted, and its features are sorted and known."""
    name = bench.provider_class
    features = list(bench.status("ProviderClass", "", name).get("supportedFeatures", ()))
    accepted = bench.condition("Accepted", "ProviderClass", "", name)
    if features != sorted(set(features)) or accepted is None or accepted.status != "True":
        raise UnmetError(
            f"status of ProviderClass {name}", expected="Accepted, features sorted", seen=(accepted, features)
        )


CASES = (
    mutual_tls_between_pods,
    mutual_tls_refuses_plaintext,
    mutual_tls_refuses_strangers_with_tls,
    mutual_tls_and_other_protocols,
    mutual_tls_and_probes,
    mutual_tls_ends_with_its_object,
    mutual_tls_selects_by_labels,
    mutual_tls_and_pods_kept_out,
    mutual_tls_and_pods_that_run,
    mutual_tls_and_pods_once_selected,
    mutual_tls_and_datagrams,
    mutual_tls_by_each_address,
    certificates_are_short_lived,
    features_are_declared,
    server_names,
    server_names_follow,
    server_names_before_ready,
    client_names,
    client_names_of_others,
    identity_header,
    identity_cannot_be_forged,
    identity_on_contested_ports,
    identity_and_services_of_others,
    identity_of_outsiders,
    permissive,
    strict_beats_permissive,
    mutual_tls_says_what_it_cannot_do,
    mutual_tls_that_cannot_be_enforced,
)
