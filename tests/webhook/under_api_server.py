"""Our webhooks beside a real API server that is configured to ask them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from e2e_kit.apiserver import ApiServer
from intent.builders import World
from smeagol import objects
from smeagol.intent import MeshIntent
from smeagol.pki import KeyStore, LocalAuthority, MemoryKeyStore, Purpose
from smeagol.providers.envoy import provider
from smeagol.webhook import (
    InjectionReview,
    InjectionSettings,
    KeyPair,
    ServingCertificate,
    ValidationReview,
    WebhookPlace,
    bootstrap_template,
    foresee,
    mutating_configuration,
    serve,
    validating_configuration,
    webhook_app,
)
from smeagol.webhook.json_patch import Operation
from smeagol.webhook.review import Request, Verdict
from webhook.pods import SETTINGS, container

__all__ = ["INIT", "INJECT", "PROXY", "Json", "Webhooks"]

Json = dict[str, Any]
INJECT = "smi-spec.io/inject"
INIT, PROXY = "smeagol-init", "smeagol-proxy"


def late_answer(request: Request) -> Verdict:
    """Another's webhook, which comes after ours: one container more, and every image from elsewhere."""
    pod = request.body()
    images = [
        Operation("replace", f"/spec/{field}/{index}/image", f"mirror.example.com/{one['image']}")
        for field in ("initContainers", "containers")
        for index, one in enumerate(pod["spec"].get(field) or [])
    ]
    late = container("late", livenessProbe={"httpGet": {"path": "/", "port": 81}})
    return Verdict(patch=(*images, Operation("add", "/spec/containers/-", late)))


class Webhooks:
    """Our server beside an API server that is configured to ask it, and `late_answer` after it."""

    def __init__(
        self,
        api: ApiServer,
        *,
        settings: InjectionSettings = SETTINGS,
        pod_cidrs: tuple[str, ...] = (),
        keys: KeyStore | None = None,
    ) -> None:
        self.api = api
        self._settings = settings
        self._mesh = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local", pod_cidrs=pod_cidrs)
        self.world = World()
        self._socket = _bound(0)
        self.place = WebhookPlace(port=self._socket.getsockname()[1])
        self.authority = LocalAuthority.open(
            keys or MemoryKeyStore(), trust_domain="cluster.local", now=datetime.now(UTC)
        )
        self._certificate = ServingCertificate(self._issue, clock=lambda: datetime.now(UTC))

    def _issue(self) -> KeyPair:
        issued = self.authority.issue(self.place.dns_names, Purpose.SERVER, now=datetime.now(UTC))
        return KeyPair(chain_pem=issued.chain_pem, key_pem=issued.key_pem.reveal(), renew_at=issued.renew_at)

    def configure(self) -> None:
        """The very configurations that users have; only the Service leads to this machine."""
        self.api.apply(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {self.place.namespace}}}}}")
        service = f"{{apiVersion: v1, kind: Service, metadata: {{name: {self.place.service}}}, "
        self.api.apply(service + "spec: {type: ExternalName, externalName: localhost}}", self.place.namespace)
        bundle = self.authority.trust_bundle_pem
        ours = mutating_configuration(self.place, bundle)
        for configuration in (ours, validating_configuration(self.place, bundle), _late_configuration(ours)):
            for _ in range(2):  # applying it again is as once
                text = json.dumps(configuration)
                self.api.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer within the block; outside of it connections are refused."""
        decide = self.world.resolver.injection_for
        bootstrap = bootstrap_template(provider, self._mesh, self._settings)
        inject = InjectionReview(self._settings, decide=decide, bootstrap=bootstrap)
        labelled = InjectionReview(self._settings, decide=self.world.resolver.containers_for, bootstrap=bootstrap)
        validate = ValidationReview(partial(foresee, self.world.resolver))
        ours = webhook_app(inject=inject, inject_labelled=labelled, validate=validate)
        late = webhook_app(inject=late_answer, inject_labelled=late_answer, validate=late_answer)

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/late":
                await late({**scope, "path": "/inject"}, receive, send)
            else:
                await ours(scope, receive, send)

        loop = asyncio.new_event_loop()
        self._socket.listen(1024)
        task = loop.create_task(serve(both, [self._socket], self._certificate.context))

        def run() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(30)
            self._socket.close()
            self._socket = _bound(self.place.port)

    def namespace(self, *, inject: str = "") -> str:
        """A new one, known to the resolver as a reflector would make it. `inject`: what its label says."""
        name = self.api.namespace()
        labels = {INJECT: inject} if inject else {}
        if inject:
            self.api.kubectl("label", "namespace", name, f"{INJECT}={inject}")
        self.world.add(objects.Namespace(metadata=objects.Metadata(name=name, labels=labels)))
        return name

    def make(self, namespace: str, pod: Json) -> Json:
        """Create a Pod; returns it as it is stored."""
        self.api.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(pod))
        return self.api.get("pod", pod["metadata"]["name"], namespace)

    def warnings(self, namespace: str, manifest: str) -> str:
        """What kubectl says beside its answer."""
        cluster = self.api.cluster
        program, kubeconfig = str(cluster.kubectl_program), str(cluster.kubeconfig)
        command = [program, "--kubeconfig", kubeconfig, "-n", namespace, "apply", "-f", "-"]
        return subprocess.run(command, input=manifest, capture_output=True, text=True, check=True).stderr


def _bound(port: int) -> socket.socket:
    """A port of loopback that is ours and refuses connections."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _late_configuration(ours: Mapping[str, Any]) -> Json:
    configuration: Json = json.loads(json.dumps(ours))
    webhook = configuration["webhooks"][0]
    webhook |= {"name": "late.example.com", "reinvocationPolicy": "Never", "namespaceSelector": {}}
    webhook["objectSelector"] = {"matchLabels": {"late": "yes"}}
    webhook["clientConfig"]["service"]["path"] = "/late"
    return {**configuration, "metadata": {"name": "zz-late"}, "webhooks": [webhook]}
