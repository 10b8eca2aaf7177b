"""What users of a cluster see of the control plane: statuses, Events, refusals, proxies that have what they need."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster.commands import wait_for
from e2e_kit.apiserver import CLASS, ApiServer, Json, api_server, canary, condition, smeagol
from e2e_kit.proxy import Proxy, proxy
from e2e_kit.replica import Replica, announce, leader, own_address, replica, roots, serving
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.control import Roots
from smeagol.infra.kubernetes.connection import connect_blocking
from smeagol.pki import LocalAuthority, MemoryKeyStore, PrivateBytes, Purpose
from smeagol.refs import NodeId, PodRef
from smeagol.runtime.secret_store import SecretKeyStore
from smeagol.xds.type_urls import CLUSTER, SECRET
from xds_kit.client import DeltaStream, channel, delta

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-controller")]

OURS = "smeagol.dev/envoy"
THEIRS = "example.org/other"
STRICT = "{apiVersion: smi-spec.io/v1beta1, kind: MutualTLS, metadata: {name: all}, spec: {selector: {}}}"
UNCLASSED = {
    "Canary": "{service: web, backends: [{service: web-v1, weight: 1}]}",
    "MutualTLS": "{selector: {}}",
    "Sidecar": "{selector: {}}",
}
"""Of each kind, a spec that names no class"""


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


@pytest.fixture(scope="module")
def control(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Replica]]:
    """One replica, and the namespace of the control plane, for tests that do not disturb it."""
    namespace = api.namespace()
    with serving(api, namespace, "steady", tmp_path_factory.mktemp("control")) as running:
        yield namespace, running


@pytest.fixture
def alone(api: ApiServer) -> str:
    """The namespace of a control plane of the test's own."""
    return api.namespace()


@dataclass(frozen=True)
class Default:
    """Which classes are the default, of those that stand beside `smeagol` too."""

    api: ApiServer

    def unset(self) -> None:
        self.api.kubectl("annotate", "providerclass", "smeagol", f"{DEFAULT_CLASS_ANNOTATION}-")

    def restore(self) -> None:
        self.api.apply(CLASS)

    def add(self, controllers: Mapping[str, str]) -> None:
        """Make default classes, in this order and yet of one age (an age has whole seconds), by name and controller."""

        def made() -> bool:
            self.remove(*controllers)
            meta = "apiVersion: smi-spec.io/v1beta1, kind: ProviderClass, metadata"
            annotations = f'annotations: {{{DEFAULT_CLASS_ANNOTATION}: "true"}}'
            classes = (
                f"{{{meta}: {{name: {name}, {annotations}}}, spec: {{controllerName: {controller}}}}}"
                for name, controller in controllers.items()
            )
            self.api.apply("\n---\n".join(classes))
            found = [self.api.get("providerclass", name)["metadata"]["creationTimestamp"] for name in controllers]
            return len(set(found)) == 1

        wait_for("classes of one age", made, within_seconds=60)

    def remove(self, *names: str) -> None:
        self.api.kubectl("delete", "providerclass", "--ignore-not-found", *names)


@pytest.fixture
def default(api: ApiServer) -> Iterator[Default]:
    """To be changed by the test; what it adds it removes."""
    made = Default(api)
    yield made
    made.restore()


def told(api: ApiServer, what: str, name: str, namespace: str, **wanted: str) -> Json:
    """The object, once its conditions are as wanted: `Accepted="True/Accepted"`."""

    def found() -> Json | None:
        obj = api.get(what, name, namespace)
        has = {kind: condition(obj, kind) for kind in wanted}
        is_there = all(f"{has[kind].get('status')}/{has[kind].get('reason')}" == wanted[kind] for kind in wanted)
        return obj if is_there else None

    return wait_for(f"{what} {name}: {wanted}", found, within_seconds=60)


def up_to_date(api: ApiServer, name: str, namespace: str, generation: int) -> None:
    """Wait until the status of a Canary is about this generation of it."""

    def reached() -> bool:
        return condition(api.get("canary", name, namespace), "Accepted").get("observedGeneration") == generation

    wait_for(f"the status of {name} is about generation {generation}", reached, within_seconds=60)


def events(api: ApiServer, name: str, namespace: str) -> list[tuple[str, str]]:
    """Type and reason of the Events of one object."""
    return [
        (event["type"], event["reason"])
        for event in api.items("events.events.k8s.io", namespace)
        if event["regarding"]["name"] == name
    ]


def counted(text: str, name: str, **labels: str) -> float:
    """The value of one series in a replica's metrics."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return next(sample.value for sample in samples if sample.name == name and sample.labels == labels)


def replace_root(api: ApiServer, namespace: str) -> None:
    """As `smeagol ca rotate --root --now` does it where there is an installation."""
    with connect_blocking(api.cluster.kubeconfig) as client:
        store = SecretKeyStore(client, namespace=namespace, name="smeagol-authority")
        authority = LocalAuthority.open(store, trust_domain="cluster.local", now=datetime.now(UTC))
        assert authority.begin_rotation(now=datetime.now(UTC), hurried=True)


@asynccontextmanager
async def stream(api: ApiServer, control: tuple[str, Replica], token: str) -> AsyncIterator[DeltaStream]:
    """A script in the place of a proxy that shows this token."""
    namespace, replica_ = control
    ca = await asyncio.to_thread(roots, api, namespace)
    options = [("grpc.ssl_target_name_override", f"smeagol-discovery.{namespace}.svc")]
    async with channel(f"127.0.0.1:{replica_.port}", grpc.ssl_channel_credentials(ca), options) as on:
        yield delta(on, [("authorization", f"Bearer {token}")])


async def answer_all(script: DeltaStream, refusal: str) -> None:
    """Acknowledge whatever is sent, or refuse it in these words."""
    while True:
        sent = await script.answer()
        await (script.nack(sent, refusal) if refusal else script.ack(sent))


async def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.1)


def rollout(api: ApiServer, namespace: str) -> None:
    """A root and two versions; a client with a proxy, whose Pod is not behind any of them."""
    for version, address in (("v1", "10.244.1.1"), ("v2", "10.244.1.2")):
        api.pod(f"web-{version}", address, namespace, proxy=False)
        api.service(f"web-{version}", namespace)
    api.service("web", namespace, app="web-v1")
    api.pod("cart", "10.244.1.9", namespace)
    api.apply(canary("web", "web", v1="1", v2="500m"), namespace)


@pytest.mark.usefixtures("control")
class TestStatus:
    """SMI-STATUS, as kubectl shows it."""

    def test_what_is_missing_is_told_and_the_object_waits(self, api: ApiServer) -> None:
        """SMI-COMMON-02, SMI-CAN-03: objects may come in any order."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        obj = told(api, "canary", "web", namespace, Accepted="True/Accepted", ResolvedRefs="False/BackendNotFound")
        assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        wait_for(
            "it is told", lambda: ("Warning", "BackendNotFound") in events(api, "web", namespace), within_seconds=60
        )

        rollout(api, namespace)
        told(api, "canary", "web", namespace, ResolvedRefs="True/ResolvedRefs", Programmed="False/Pending")
        wait_for(
            "the news is told", lambda: ("Normal", "ResolvedRefs") in events(api, "web", namespace), within_seconds=60
        )

    def test_counts_are_whole(self, api: ApiServer) -> None:
        """SMI-STATUS-04: a count of zero is a count."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        obj = told(api, "canary", "web", namespace, Accepted="True/Accepted")
        (entry,) = obj["status"]["providers"]
        assert entry["controllerName"] == OURS
        assert entry["className"] == "smeagol"
        assert entry["counts"] == {"pods": 0, "injected": 0, "proxies": 0, "programmed": 0}

    def test_the_class_says_what_the_provider_can_do(self, api: ApiServer) -> None:
        """SMI-CLASS-08."""
        obj = told(api, "providerclass", "smeagol", "default", Accepted="True/Accepted")
        features = obj["status"]["supportedFeatures"]
        assert features == sorted(features)
        assert "Canary" in features

    def test_nothing_is_written_while_nothing_changes(self, api: ApiServer) -> None:
        """SMI-STATUS-08: seen over a time in which the control plane had other things to do."""
        namespace = api.namespace()
        rollout(api, namespace)
        told(api, "canary", "web", namespace, ResolvedRefs="True/ResolvedRefs", Programmed="False/Pending")
        before = api.get("canary", "web", namespace)
        for generation, weight in enumerate(("1", "2", "3", "4"), 1):
            api.apply(canary("other", "nothing", v1=weight), namespace)
            up_to_date(api, "other", namespace, generation)
        assert api.get("canary", "web", namespace) == before

    def test_a_status_that_somebody_has_wiped_is_written_again(self, api: ApiServer) -> None:
        """SMI-COMMON-03: what is said follows from what is, not from what was said before."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        told(api, "canary", "web", namespace, Accepted="True/Accepted")
        wipe = json.dumps([{"op": "remove", "path": "/status"}])
        api.kubectl(
            "-n", namespace, "patch", "canary.smi-spec.io", "web", "--subresource=status", "--type=json", "-p", wipe
        )
        told(api, "canary", "web", namespace, Accepted="True/Accepted")

    def test_what_others_write_stays_theirs(self, api: ApiServer) -> None:
        """SMI-STATUS-03, SMI-STATUS-04: other conditions and entries are neither changed nor claimed."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        told(api, "canary", "web", namespace, Accepted="True/Accepted")
        theirs = {
            "type": "Audited",
            "status": "True",
            "reason": "Seen",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        status = {"conditions": [theirs], "providers": [{"controllerName": "example.org/other"}]}
        body = {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "web"},
            "status": status,
        }
        apply = ("apply", "--server-side", "--field-manager=other", "--subresource=status", "-f", "-")
        api.kubectl("-n", namespace, *apply, stdin=json.dumps(body))
        api.apply(canary("web", "web", v1="1", v2="1"), namespace)
        up_to_date(api, "web", namespace, 2)
        obj = api.get("canary", "web", namespace)
        assert condition(obj, "Audited")["reason"] == "Seen"
        managed = json.loads(
            api.kubectl("-n", namespace, "get", "canary.smi-spec.io", "web", "-o", "json", "--show-managed-fields")
        )["metadata"]["managedFields"]
        (ours,) = (entry for entry in managed if entry["manager"] == "smeagol")
        assert "Audited" not in json.dumps(ours)
        assert "example.org/other" not in json.dumps(ours)

    def test_another_providers_objects_are_left_alone_and_given_up(self, api: ApiServer) -> None:
        """SMI-CLASS-04: no status of ours, and what was ours is taken back."""
        namespace = api.namespace()
        api.apply(
            """
            apiVersion: smi-spec.io/v1beta1
            kind: ProviderClass
            metadata: {name: foreign}
            spec: {controllerName: example.org/other}
            """
        )
        foreign = canary("theirs", "web", v1="1").replace("spec: {", "spec: {providerClassName: foreign, ")
        api.apply(foreign, namespace)
        api.apply(canary("moves", "web2", v1="1"), namespace)
        told(api, "canary", "moves", namespace, Accepted="True/Accepted")
        assert "status" not in api.get("canary", "theirs", namespace)
        assert "status" not in api.get("providerclass", "foreign")

        api.apply(canary("moves", "web2", v1="1").replace("spec: {", "spec: {providerClassName: foreign, "), namespace)
        wait_for(
            "our part is taken back", lambda: not api.get("canary", "moves", namespace).get("status"), within_seconds=60
        )

    def test_an_unknown_class_is_answered(self, api: ApiServer) -> None:
        """SMI-CLASS-02: never by a silent fall-back."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1").replace("spec: {", "spec: {providerClassName: nobody, "), namespace)
        obj = told(api, "canary", "web", namespace, Accepted="False/NoMatchingProvider")
        assert "'nobody'" in condition(obj, "Accepted")["message"]

    def test_without_a_default_an_object_must_name_its_class(self, api: ApiServer, default: Default) -> None:
        """SMI-CLASS-03: it is told so, and taken on once a class is the default. SMI-CLASS-06: nor is it served where
        there is no class at all: a provider in a cluster is never alone.
        """
        namespace = api.namespace()
        default.unset()
        for existing in (True, False):
            if not existing:
                api.kubectl("delete", "providerclass", "smeagol")
            for kind, spec in UNCLASSED.items():
                meta = f"apiVersion: smi-spec.io/v1beta1, kind: {kind}, metadata: {{name: one}}"
                api.apply(f"{{{meta}, spec: {spec}}}", namespace)
                obj = told(api, kind, "one", namespace, Accepted="False/NoMatchingProvider")
                assert "no ProviderClass is named and none is the default" in condition(obj, "Accepted")["message"]
                if existing:
                    api.kubectl("-n", namespace, "delete", f"{kind}.smi-spec.io", "one")
        default.restore()
        for kind in UNCLASSED:
            told(api, kind, "one", namespace, Accepted="True/Accepted")

    def test_of_several_defaults_the_oldest_is_the_default(self, api: ApiServer, default: Default) -> None:
        """SMI-CLASS-05: and of the same age the first by name; whatever was said of them before."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)

        def served_as() -> str | None:
            """The class that our status names; none while the object is another provider's."""
            providers = api.get("canary", "web", namespace).get("status", {}).get("providers", [])
            return next((entry.get("className", "") for entry in providers), None)

        def becomes(class_name: str | None) -> None:
            wait_for(f"it is served as {class_name}", lambda: served_as() == class_name, within_seconds=60)

        becomes("smeagol")
        default.add({"a-younger": THEIRS})
        default.unset()
        becomes(None)  # the younger one is known, and the only default
        default.restore()
        becomes("smeagol")

        default.unset()
        default.remove("a-younger")
        becomes("")
        for first, served in ((OURS, "one-a"), (THEIRS, None)):
            second = THEIRS if first == OURS else OURS
            default.add({"one-b": second, "one-a": first})
            becomes(served)
            default.remove("one-a")
            becomes(None if served else "one-b")  # each of them is taken where it stands alone
            default.remove("one-b")

    def test_names_are_granted_and_withheld(self, api: ApiServer) -> None:
        """SMI-MTLS-11: by any class of the controller, also against an older claim; and no longer once it is gone."""
        first, second = sorted((api.namespace(), api.namespace()))  # of the same second, the first by name is older
        names = {"granted": f"{second}.example", "withheld": f"{first}.example"}

        def mutual_tls(namespace: str) -> None:
            api.apply(
                f"""
                apiVersion: smi-spec.io/v1beta1
                kind: MutualTLS
                metadata: {{name: all}}
                spec: {{selector: {{}}, clientSubjectNames: [{", ".join(names.values())}]}}
                """,
                namespace,
            )

        mutual_tls(first)
        told(api, "mutualtls", "all", first, Accepted="True/Accepted")
        mutual_tls(second)
        told(api, "mutualtls", "all", second, Accepted="False/Conflicted")
        api.apply(
            f"""
            apiVersion: smi-spec.io/v1beta1
            kind: ProviderClass
            metadata: {{name: names}}
            spec:
              controllerName: {OURS}
              parameters:
                clientSubjectNames:
                - {{pattern: "*{names["granted"]}", action: Grant, namespaces: [{second}]}}
                - {{pattern: "{names["withheld"]}", action: Withhold}}
            """
        )
        obj = told(api, "mutualtls", "all", second, Accepted="False/Invalid")
        assert f"'{names['withheld']}' is withheld from namespace '{second}'" in condition(obj, "Accepted")["message"]
        obj = told(api, "mutualtls", "all", first, Accepted="False/Conflicted")
        message = condition(obj, "Accepted")["message"]
        assert f"'{names['granted']}' belongs to namespace '{second}'" in message
        assert "by ProviderClass 'names'" in message
        api.kubectl("delete", "providerclass", "names")
        told(api, "mutualtls", "all", first, Accepted="True/Accepted")

    def test_an_object_made_again_begins_anew(self, api: ApiServer) -> None:
        """SMI-COMMON-03: a name is not an object."""
        namespace = api.namespace()
        for _ in range(2):
            api.apply(canary("web", "web", v1="1"), namespace)
            obj = told(api, "canary", "web", namespace, Accepted="True/Accepted")
            assert condition(obj, "Accepted")["lastTransitionTime"] >= obj["metadata"]["creationTimestamp"]
            api.kubectl("-n", namespace, "delete", "canary.smi-spec.io", "web")

    def test_the_same_news_is_one_event(self, api: ApiServer) -> None:
        """SMI-STATUS-10: what comes and goes is counted, not repeated for ever."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        api.pod("web-v1", "10.244.2.1", namespace)
        for _ in range(2):
            api.service("web", namespace, app="web-v1")
            api.service("web-v1", namespace)
            told(api, "canary", "web", namespace, ResolvedRefs="True/ResolvedRefs")
            api.kubectl("-n", namespace, "delete", "service", "web-v1")
            told(api, "canary", "web", namespace, ResolvedRefs="False/BackendNotFound")

        def counted() -> bool:
            return any(
                event.get("series", {}).get("count", 0) >= 2 for event in api.items("events.events.k8s.io", namespace)
            )

        wait_for("an Event is counted", counted, within_seconds=60)
        said = [
            (e["reason"], e["note"])
            for e in api.items("events.events.k8s.io", namespace)
            if e["regarding"]["name"] == "web"
        ]
        assert len(said) == len(set(said))


class TestRefusal:
    """SMI-COMMON-05, SMI-COMMON-06: the cluster refuses in the very words of `smeagol validate`."""

    @pytest.mark.parametrize(
        "manifest",
        [
            canary("web", "web", v1="0", v2="0m"),
            canary("web", "web", v1="-1"),
            canary("web", "web.shop.example", v1="1"),
            canary("web", "web", v1="1").replace("web-v1", "web"),
            """
            apiVersion: smi-spec.io/v1beta1
            kind: Canary
            metadata: {name: web}
            spec: {service: web, services: [{web-v1: 50%}]}
            """,
            """
            apiVersion: smi-spec.io/v1beta1
            kind: MutualTLS
            metadata: {name: web}
            spec: {selector: {}, clientSubjectNames: ["a,b"]}
            """,
            """
            apiVersion: smi-spec.io/v1beta1
            kind: ProviderClass
            metadata: {name: names}
            spec:
              controllerName: a.example/b
              parameters: {clientSubjectNames: [{pattern: "a,b", action: Withhold}, {pattern: a, action: Grant}]}
            """,
        ],
        ids=["all-zero", "negative", "no-service", "own-backend", "draft", "comma", "names"],
    )
    def test_word_for_word(self, api: ApiServer, manifest: str) -> None:
        said = smeagol("validate", "-", "-o", "json", stdin=manifest)
        problems = json.loads(said)["problems"]
        refusal = " ".join(api.refused(manifest, "default").split())
        assert problems
        for problem in problems:
            assert problem["cause"].partition(": ")[2] in refusal
            assert problem["cure"] in refusal


class TestKinds:
    """As the cluster has them."""

    def test_kinds_and_their_scopes(self, api: ApiServer) -> None:
        """SMI-COMMON-01."""
        shown = api.kubectl("api-resources", "--api-group=smi-spec.io", "--no-headers")
        scopes = {line.split()[-1]: tuple(line.split()[-3:-1]) for line in shown.splitlines()}
        namespaced = dict.fromkeys(("MutualTLS", "Canary", "Sidecar"), ("smi-spec.io/v1beta1", "true"))
        assert scopes == {**namespaced, "ProviderClass": ("smi-spec.io/v1beta1", "false")}

    def test_a_class_keeps_its_controller(self, api: ApiServer) -> None:
        """SMI-CLASS-07."""
        assert "spec.controllerName" in api.refused(CLASS.replace(OURS, THEIRS), "default")
        api.apply(CLASS)  # the same again is no change


@pytest.mark.envoy
class TestProxies:
    """Real Envoys with the tokens of their Pods."""

    async def test_programmed_once_the_proxy_has_acknowledged(
        self, api: ApiServer, control: tuple[str, Replica], tmp_path: Path
    ) -> None:
        """SMI-STATUS-05: `kubectl wait` returns then, and `kubectl get` shows it at a glance."""
        namespace = api.namespace()
        await asyncio.to_thread(rollout, api, namespace)
        cart = PodRef(namespace, "cart")
        async with proxy(api, cart, "10.244.1.9", [control[1]], control[0], tmp_path / "cart") as envoy:
            wait = ("wait", "--for=condition=Programmed", "canary.smi-spec.io/web", "--timeout=60s")
            await asyncio.to_thread(api.kubectl, "-n", namespace, *wait)
            obj = await asyncio.to_thread(api.get, "canary", "web", namespace)
            assert obj["status"]["providers"][0]["counts"] == {"pods": 0, "injected": 0, "proxies": 1, "programmed": 1}
            assert await until_listeners(envoy, bool)
            shown = await asyncio.to_thread(api.kubectl, "-n", namespace, "get", "canaries.smi-spec.io")
            heads, row = (line.split() for line in shown.splitlines())
            assert heads[:2] == ["NAME", "SERVICE"]
            assert row[:2] == ["web", "web"]
            assert "Programmed" in " ".join(heads) or "PROGRAMMED" in heads
        await eventually(lambda: condition(api.get("canary", "web", namespace), "Programmed")["reason"] == "Pending")

    async def test_a_refusal_is_told_in_the_proxys_own_words(
        self, api: ApiServer, control: tuple[str, Replica]
    ) -> None:
        """SMI-STATUS-06: until it has taken over what it is sent. A script, since no real proxy refuses anything."""
        namespace = await asyncio.to_thread(api.namespace)
        await asyncio.to_thread(rollout, api, namespace)
        cart = PodRef(namespace, "cart")
        token = await asyncio.to_thread(api.token, cart.name, namespace)
        words = "no room for a cluster"
        for reason, refusal in (("False/Rejected", words), ("True/Programmed", "")):
            async with stream(api, control, token) as script:
                await script.ask(CLUSTER, node=cart.node)
                answering = asyncio.create_task(answer_all(script, refusal))
                obj = await asyncio.to_thread(told, api, "canary", "web", namespace, Programmed=reason)
                assert (words in condition(obj, "Programmed")["message"]) == bool(refusal)
                answering.cancel()
                await asyncio.wait([answering])

    async def test_an_identity_is_only_its_own_pods(self, api: ApiServer, control: tuple[str, Replica]) -> None:
        """A token speaks for the Pod that it is bound to, to us, and for as long as the Pod lives."""
        where = await asyncio.to_thread(api.namespace)
        for name, address in (("a", "10.244.3.1"), ("b", "10.244.3.2")):
            await asyncio.to_thread(api.pod, name, address, where)
        token = await asyncio.to_thread(api.token, "a", where)
        elsewhere = await asyncio.to_thread(api.token, "a", where, audience="vault")
        unbound = await asyncio.to_thread(api.kubectl, "-n", where, "create", "token", "default", "--audience=smeagol")

        async def answer(node: str, shown: str) -> grpc.StatusCode:
            """How the stream is refused; OK if it is served."""
            async with stream(api, control, shown) as script, asyncio.timeout(60):
                try:
                    await script.ask(CLUSTER, node=NodeId(node))
                    await script.receive()
                except (EOFError, grpc.aio.AioRpcError):
                    return (await script.end())[0]
                return grpc.StatusCode.OK

        assert await answer(f"{where}/a", token) is grpc.StatusCode.OK
        refusals = {
            "another Pod": await answer(f"{where}/b", token),
            "another audience": await answer(f"{where}/a", elsewhere),
            "no Pod": await answer(f"{where}/a", unbound.strip()),
            "garbage": await answer(f"{where}/a", "garbage"),
            "a signature that is wrong": await answer(f"{where}/a", f"{token[:-8]}AAAAAAAA"),
        }
        assert refusals == dict.fromkeys(refusals, grpc.StatusCode.UNAUTHENTICATED)

        await asyncio.to_thread(api.kubectl, "-n", where, "delete", "pod", "a", "--force", "--grace-period=0")
        await eventually(lambda: not api.kubectl("-n", where, "get", "pod", "a", "--ignore-not-found"))
        async with asyncio.timeout(60):
            while await answer(f"{where}/a", token) is grpc.StatusCode.OK:
                await asyncio.sleep(1)

        log = control[1].log.read_text()
        for secret in (token, elsewhere, unbound.strip()):
            assert secret not in log
            assert secret.rpartition(".")[2] not in log
        assert "PRIVATE KEY" not in log


class TestIdentities:
    """Which of the Pods are somebody, seen from what the control plane gives to whoever shows their tokens."""

    async def test_an_address_is_that_of_one_pod(self, api: ApiServer, control: tuple[str, Replica]) -> None:
        """SMI-POD-07: of the one that is not being deleted, then of the youngest. The others are nobody there."""
        pods = await tokens(api, {"oldest": "10.244.4.1", "older": "10.244.4.1", "a-young": "10.244.4.1"})
        await until_known(api, control, pods, "a-young")
        for leaving, next_ in (("a-young", "older"), ("older", "oldest"), ("oldest", "a-young")):
            await asyncio.to_thread(leave, api, pods, leaving)
            await until_known(api, control, pods, next_)

    async def test_who_has_finished_is_nobody_and_who_leaves_is_somebody(
        self, api: ApiServer, control: tuple[str, Replica]
    ) -> None:
        """SMI-POD-08: the one is not selected any more either; the other is until it is gone."""
        pods = await tokens(api, {name: f"10.244.5.{n}" for n, name in enumerate(("done", "failed", "leaving"))})
        await until_known(api, control, pods, *pods.tokens)
        for name, phase in (("done", "Succeeded"), ("failed", "Failed")):
            patch = json.dumps({"status": {"phase": phase}})
            status = ("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
            await asyncio.to_thread(api.kubectl, "-n", pods.namespace, *status)
        await asyncio.to_thread(leave, api, pods, "leaving")
        await until_known(api, control, pods, "leaving")

        def selected() -> int:
            providers = api.get("mutualtls", "all", pods.namespace).get("status", {}).get("providers", [])
            return sum(entry["counts"]["pods"] for entry in providers)

        await eventually(lambda: selected() == 1)
        force = ("delete", "pod", "leaving", "--force", "--grace-period=0")
        await asyncio.to_thread(api.kubectl, "-n", pods.namespace, *force)
        await asyncio.to_thread(told, api, "mutualtls", "all", pods.namespace, ResolvedRefs="False/NoPodsSelected")


@dataclass(frozen=True)
class Tokens:
    """The tokens of Pods of one namespace, by name."""

    namespace: str
    tokens: Mapping[str, str]


async def tokens(api: ApiServer, addresses: Mapping[str, str]) -> Tokens:
    """New Pods with proxies, each younger than the one before, under Strict mutual TLS."""

    def made() -> Tokens:
        namespace = api.namespace()
        api.apply(STRICT, namespace)
        found = {}
        for name, address in addresses.items():
            api.pod(name, address, namespace)
            created = api.get("pod", name, namespace)["metadata"]["creationTimestamp"]
            found[name] = api.token(name, namespace)
            # An age has whole seconds.
            wait_for("a younger age", lambda: f"{datetime.now(UTC):%FT%TZ}" > created, within_seconds=10)  # noqa: B023
        return Tokens(namespace, found)

    return await asyncio.to_thread(made)


def leave(api: ApiServer, pods: Tokens, name: str) -> None:
    """Begin to delete a Pod, which nobody ends."""
    api.kubectl("-n", pods.namespace, "delete", "pod", name, "--grace-period=600", "--wait=false")


async def until_known(api: ApiServer, control: tuple[str, Replica], pods: Tokens, *wanted: str) -> None:
    """Wait until these Pods have a server's certificate, and the others have none of any kind."""

    async def secrets(name: str) -> set[str]:
        async with stream(api, control, pods.tokens[name]) as script:
            await script.ask(SECRET, ["roots", "client", "server"], node=PodRef(pods.namespace, name).node)
            return (await script.answer()).names

    async with asyncio.timeout(60):
        given: dict[str, set[str]] = {}
        everything = {name: {"roots"} | ({"client", "server"} if name in wanted else set()) for name in pods.tokens}
        while given != everything:
            await asyncio.sleep(0.1)
            given = {name: await secrets(name) for name in pods.tokens}


class TestReplicas:
    """Two of them: one writes, both serve, and either may end at any time."""

    def test_first_start_together(self, api: ApiServer, alone: str, tmp_path: Path) -> None:
        """Both want to make the keys; they end up with the same."""
        with (
            replica(api, alone, "a", tmp_path) as a,
            replica(api, alone, "b", tmp_path) as b,
        ):
            wait_for("both serve", lambda: a.serves and b.serves, within_seconds=60)
            assert trusted(api, alone, a)
            assert trusted(api, alone, b)

    def test_one_writes_and_another_follows(self, api: ApiServer, alone: str, tmp_path: Path) -> None:
        """A leader that is killed is followed after the lease time, one that is ended at once; news is told once."""
        namespace = api.namespace()
        api.apply(canary("web", "web", v1="1"), namespace)
        with serving(api, alone, "a", tmp_path) as a:
            wait_for("a leads", lambda: leader(api, alone) == "a", within_seconds=60)
            told(api, "canary", "web", namespace, Accepted="True/Accepted")
            wait_for("it is told", lambda: len(events(api, "web", namespace)) >= 2, within_seconds=60)
            before = events(api, "web", namespace)
            with serving(api, alone, "b", tmp_path) as b:
                a.kill()
                wait_for("b leads", lambda: b.logged("leading"), within_seconds=40)
                api.apply(canary("more", "web2", v1="1"), namespace)
                told(api, "canary", "more", namespace, Accepted="True/Accepted")
                with serving(api, alone, "c", tmp_path) as c:
                    assert b.stop() == 0
                    assert leader(api, alone) in {"", "c"}
                    wait_for("c leads", lambda: c.logged("leading"), within_seconds=10)
                    api.apply(canary("last", "web3", v1="1"), namespace)
                    told(api, "canary", "last", namespace, Accepted="True/Accepted")
                    assert events(api, "web", namespace) == before

    @pytest.mark.envoy
    async def test_no_proxy_loses_anything(self, api: ApiServer, alone: str, tmp_path: Path) -> None:
        """Both replicas are killed and start again, and so does the API server: proxies keep what they have, and learn
        what is new from whoever is there. Nothing is served before a whole state was seen.
        """
        namespace = await asyncio.to_thread(api.namespace)
        await asyncio.to_thread(rollout, api, namespace)
        pod = PodRef(namespace, "cart")
        with ExitStack() as processes:
            a = processes.enter_context(serving(api, alone, "a", tmp_path))
            b = processes.enter_context(serving(api, alone, "b", tmp_path))
            async with proxy(api, pod, "10.244.1.9", [a, b], alone, tmp_path / "cart") as envoy, kept(envoy):
                await asyncio.to_thread(a.kill)
                await learns(api, envoy, namespace, "after-a")
                a = processes.enter_context(serving(api, alone, "a", tmp_path, port=a.port))
                await asyncio.to_thread(b.kill)
                await asyncio.to_thread(api.restart)
                envoy.replicas[:] = [a]
                await learns(api, envoy, namespace, "after-both")
                await asyncio.to_thread(a.kill)
                with replica(api, alone, "b", tmp_path, port=b.port) as b:
                    envoy.replicas[:] = [b]
                    await learns(api, envoy, namespace, "after-all")


@pytest.mark.envoy
class TestProxiesOfAllReplicas:
    """SMI-STATUS-05 where the proxies are with several replicas: the one that writes asks the others."""

    async def test_what_is_claimed_counts_them_all(self, api: ApiServer, alone: str, tmp_path: Path) -> None:
        """One proxy with each replica. A replica that does not answer takes the claim away, in words; one that has gone
        leaves its proxy to the other; a leader that is killed is followed by one that claims the same.
        """
        namespace = await asyncio.to_thread(api.namespace)
        await asyncio.to_thread(rollout, api, namespace)
        await asyncio.to_thread(api.pod, "till", "10.244.1.8", namespace)

        def says(reason: str, *, proxies: int, words: str = "") -> Callable[[], bool]:
            def holds() -> bool:
                obj = api.get("canary", "web", namespace)
                found = condition(obj, "Programmed")
                counts = obj.get("status", {}).get("providers", [{}])[0].get("counts", {})
                return (
                    found.get("reason") == reason
                    and words in found.get("message", "")
                    and (not proxies or counts["proxies"] == counts["programmed"] == proxies)
                )

            return holds

        with ExitStack() as processes, ExitStack() as second:
            a = processes.enter_context(serving(api, alone, "a", tmp_path))
            await eventually(lambda: leader(api, alone) == "a")
            b = second.enter_context(serving(api, alone, "b", tmp_path))
            for each in (a, b):
                await asyncio.to_thread(announce, api, alone, each)
            cart, till = (PodRef(namespace, name) for name in ("cart", "till"))
            async with (
                proxy(api, cart, "10.244.1.9", [a, b], alone, tmp_path / "cart") as first,
                proxy(api, till, "10.244.1.8", [b, a], alone, tmp_path / "till") as other,
            ):
                await eventually(says("Programmed", proxies=2))
                await asyncio.to_thread(api.apply, canary("web", "web", v1="1", v2="2"), namespace)
                await asyncio.to_thread(up_to_date, api, "web", namespace, 2)
                await eventually(says("Programmed", proxies=2))

                b.pause()
                await asyncio.to_thread(api.apply, canary("web", "web", v1="2", v2="1"), namespace)
                await eventually(says("Pending", proxies=0, words="(b) cannot be asked"))
                b.resume()
                await eventually(says("Programmed", proxies=2))

                assert "smeagol_leader 1.0" in a.metrics()
                assert "smeagol_leader 0.0" in b.metrics()
                assert counted(b.metrics(), "smeagol_watch_connected", resource="pods") == 1
                assert counted(a.metrics(), "smeagol_status_writes_total", outcome="written") >= 3
                assert counted(b.metrics(), "smeagol_status_writes_total", outcome="written") == 0
                for each in (a, b):
                    text = each.metrics()
                    assert counted(text, "smeagol_xds_ack_duration_seconds_count") == counted(
                        text, "smeagol_xds_acks_total"
                    )
                a.kill()
                first.replicas[:] = other.replicas[:] = [b]
                await asyncio.to_thread(announce, api, alone, a, ready=False)
                await eventually(lambda: leader(api, alone) == "b")
                await asyncio.to_thread(api.apply, canary("web", "web", v1="1", v2="3"), namespace)
                await asyncio.to_thread(up_to_date, api, "web", namespace, 4)
                await eventually(says("Programmed", proxies=2))

    async def test_a_root_that_is_replaced_in_a_hurry_waits_for_every_proxy(
        self, api: ApiServer, alone: str, tmp_path: Path
    ) -> None:
        """SMI-MTLS-22: whichever replica it is with. Who does not answer is named.

        The one is a real Envoy; the other a script, which acknowledges when it is told to.
        """
        # Those of other tests have certificates too, and nobody who would connect with them.
        await asyncio.to_thread(api.kubectl, "delete", "pods", "--all", "--all-namespaces", "--force")
        namespace = await asyncio.to_thread(api.namespace)
        await asyncio.to_thread(rollout, api, namespace)
        await asyncio.to_thread(api.pod, "till", "10.244.1.8", namespace)
        await asyncio.to_thread(api.apply, STRICT, namespace)
        cart, till = (PodRef(namespace, name) for name in ("cart", "till"))
        token = await asyncio.to_thread(api.token, "till", namespace)
        with ExitStack() as processes:
            a = processes.enter_context(serving(api, alone, "a", tmp_path))
            await eventually(lambda: leader(api, alone) == "a")
            b = processes.enter_context(serving(api, alone, "b", tmp_path))
            for each in (a, b):
                await asyncio.to_thread(announce, api, alone, each)

            async def phase(wanted: str, *waiting: PodRef) -> Roots:
                def reached() -> bool:
                    told = a.status().roots
                    return told.phase == wanted and told.waiting_for == tuple(pod.node for pod in waiting)

                try:
                    await eventually(reached)
                except TimeoutError:
                    pytest.fail(f"not {wanted}, waiting for {waiting}: {a.status().roots}")
                return a.status().roots

            async with (
                proxy(api, cart, "10.244.1.9", [a], alone, tmp_path / "cart"),
                stream(api, (alone, b), token) as script,
            ):
                await script.ask(SECRET, ["roots", "client", "server"], node=till.node)
                await script.acked(SECRET)
                before = await phase("steady")
                await asyncio.to_thread(replace_root, api, alone)
                for each in (a, b):  # who asks is told the truth, however long ago the keys were looked at
                    assert (await asyncio.to_thread(each.status)).roots.phase == "introducing"
                await phase("introducing", till)
                await script.acked(SECRET)  # both roots
                await phase("retiring", till)
                await script.acked(SECRET)  # certificates of the new one
                after = await phase("steady")
                assert {root.id for root in after.trusted}.isdisjoint(root.id for root in before.trusted)

    async def test_only_the_control_plane_may_ask(
        self, api: ApiServer, control: tuple[str, Replica], tmp_path: Path
    ) -> None:
        """What proxies have is told to nobody without a certificate, and to nobody with a workload's."""
        namespace, replica_ = control
        ca = await asyncio.to_thread(roots, api, namespace)
        keys = MemoryKeyStore()
        secret = await asyncio.to_thread(api.get, "secret", "smeagol-authority", namespace)
        keys.save(PrivateBytes(base64.b64decode(secret["data"]["authority"])))
        moment = datetime.now(UTC)
        authority = LocalAuthority.open(keys, trust_domain="cluster.local", now=moment)
        spiffe = "spiffe://cluster.local"
        answers = {}
        for name in ("", f"{spiffe}/ns/shop/sa/cart", f"{spiffe}/smeagol/control-plane"):
            issued = authority.issue([name], Purpose.CLIENT, now=moment) if name else None
            shown = (issued.key_pem.reveal(), issued.chain_pem) if issued else (None, None)
            options = [("grpc.ssl_target_name_override", f"smeagol-discovery.{namespace}.svc")]
            target = f"{own_address()}:{replica_.peers_port}"
            async with channel(target, grpc.ssl_channel_credentials(ca, *shown), options) as on:
                watch = on.unary_stream(
                    "/smeagol.peers.v1.Peers/Watch", request_serializer=None, response_deserializer=None
                )
                call = watch(b"{}")
                try:
                    async with asyncio.timeout(20):
                        answers[name] = json.loads(await anext(aiter(call)))["name"]
                except grpc.aio.AioRpcError as error:
                    answers[name] = error.code().name
        assert list(answers.values()) == ["UNAVAILABLE", "PERMISSION_DENIED", "steady"]


def trusted(api: ApiServer, namespace: str, each: Replica) -> bool:
    """The replica shows a certificate of the roots that are kept, for the name of the discovery Service."""
    context = ssl.create_default_context(cadata=roots(api, namespace).decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", each.port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname=f"smeagol-discovery.{namespace}.svc") as wrapped,
    ):
        return wrapped.version() is not None


@asynccontextmanager
async def kept(envoy: Proxy) -> AsyncIterator[None]:
    """Whatever happens in the block, the proxy has all the listeners that it had at the start."""
    had = await until_listeners(envoy, lambda names: len(names) >= 4)
    lost: dict[str, float] = {}

    async def watch() -> None:
        while True:
            with suppress(httpx2.HTTPError):  # a busy machine; that it runs is seen by what it learns
                lost.update(dict.fromkeys(had - await envoy.listeners(), time.monotonic() - started))
            await asyncio.sleep(0.05)

    started = time.monotonic()
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    assert not lost


async def until_listeners(envoy: Proxy, holds: Callable[[set[str]], bool]) -> set[str]:
    """Wait for the proxy's listeners."""
    async with asyncio.timeout(60):
        while True:
            with suppress(httpx2.HTTPError):
                if holds(names := await envoy.listeners()):
                    return names
            await asyncio.sleep(0.1)


async def learns(api: ApiServer, envoy: Proxy, namespace: str, name: str) -> None:
    """What is new arrives at the proxy: a Service that is a Canary's root has a listener of its own."""
    before = await until_listeners(envoy, bool)
    await asyncio.to_thread(api.service, name, namespace)
    await asyncio.to_thread(api.apply, canary(name, name, v1="1"), namespace)
    await until_listeners(envoy, lambda names: names > before)
