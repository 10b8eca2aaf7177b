"""`smeagol install`, `check` and `uninstall` on a real API server, and the control plane with the rights it is given.

The API server has controllers but no nodes: Pods are made and stay pending, so that replicas become available is proved
elsewhere. The control plane runs here beside it, as the service account that is installed.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner

from docs.pages import DOCS, blocks
from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from e2e.cluster.places import cache_folder
from e2e_kit.authority import CA_SECRET, hand_over, root_of
from smeagol.api.documents import Json, write_text
from smeagol.cli import build
from smeagol.infra.kubernetes.connection import connect, connect_blocking
from smeagol.infra.kubernetes.tokens import TokenReviewer
from smeagol.install import ApiServer, InstallSettings, Manifest, Outcome, find_installed, manifests, prune
from smeagol.install.api_server import Live, RefusedError
from smeagol.install.manifests import CONTROLLER
from smeagol.install.resources import (
    CREATED_ANNOTATION,
    DEPLOYMENT,
    LEASE,
    NAMESPACE,
    OWN_LABELS,
    POD,
    PROVIDER_CLASS,
    SECRET,
    SERVICE,
)
from smeagol.install.upgrading import NotInstalledError, TooFarError
from smeagol.pki import StoreError, Supplied
from smeagol.pki.certificates import Issuer
from smeagol.pki.pem import to_pem
from smeagol.runtime.secret_store import SecretKeyStore, SecretSupply
from smeagol.runtime.signing import SigningError, SigningSupply

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("install")]

SYSTEM = "smeagol-system"
SETTINGS = InstallSettings(version="1.2.3", image="smeagol:1.2.3")
SIDECAR = """
apiVersion: smi-spec.io/v1beta1
kind: Sidecar
metadata: {name: watched, namespace: default}
spec: {selector: {matchLabels: {app: nobody}}}
"""


@dataclass(frozen=True)
class Place:
    """A cluster, seen through our commands, through kubectl, and object by object."""

    cluster: Cluster
    server: ApiServer

    def smeagol(self, *arguments: str) -> str:
        """Run a command as its user, and return what it prints."""
        done = CliRunner().invoke(build(), [*arguments, "--kubeconfig", str(self.cluster.kubeconfig)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    def everything(self) -> dict[str, Json]:
        """All objects of the cluster, without what changes by itself."""
        return {
            f"{resource.group_version} {live.ref}": scrubbed(live.body)
            for resource in self.server.served()
            if resource.kind not in ("Event", "ComponentStatus")
            for live in self.server.list(resource)
        }

    def settled(self) -> dict[str, Json]:
        """The same, when Kubernetes' own controllers have done what follows from the last change."""
        seen = [self.everything()]

        def is_still() -> bool:
            seen.append(self.everything())
            return seen[-1] == seen[-2]

        wait_for("nothing changes any more", is_still, within_seconds=60, every_seconds=1)
        return seen[-1]

    def events_of_smeagol(self) -> list[Json]:
        found: Json = json.loads(self.cluster.kubectl("get", "events", "-A", "-o", "json"))["items"]
        assert isinstance(found, list)
        return [event for event in found if isinstance(event, dict) and "smi-spec.io" in str(event)]


def scrubbed(value: Json) -> Json:
    changing = {
        "managedFields",
        "resourceVersion",
        "renewTime",
        "generation",
        "lastTransitionTime",
        "observedGeneration",
    }
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if key not in changing}
    return [scrubbed(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def api() -> Iterator[Place]:
    """An API server of these tests' own: they compare all that is in it."""
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("tests on a real API server run in `make e2e` (SMEAGOL_E2E is not set)")
    if not any(cache_folder().glob("kubernetes-*")) or not any(cache_folder().glob("etcd-*")):
        pytest.skip("no cluster programs are cached: `make cluster` builds them")
    with running(f"install-{secrets.token_hex(4)}") as cluster, connect_blocking(cluster.kubeconfig) as client:
        yield Place(cluster, ApiServer(client))


@pytest.fixture
def place(api: Place) -> Iterator[Place]:
    """Without Smeagol, before and after."""
    yield api
    api.smeagol("uninstall", "--yes")


@pytest.fixture
def installed(place: Place) -> Place:
    place.smeagol("install")
    return place


class TestInstall:
    """Server-side apply, in order."""

    def test_the_api_server_takes_every_object_strictly(self, installed: Place) -> None:
        """No field is unknown, duplicated or dropped; the defaults change nothing that we say."""
        for manifest in manifests(SETTINGS):
            installed.server.apply(manifest, force=True, dry_run=True)

    def test_strict_means_that_an_unknown_field_is_refused(self, installed: Place) -> None:
        """The test above can fail."""
        (deployment,) = (m for m in manifests(SETTINGS) if m.resource == DEPLOYMENT)
        spec = deployment.content["spec"]
        assert isinstance(spec, dict)
        wrong = replace(deployment, content={"spec": {**spec, "replica": 2}})
        with pytest.raises(RefusedError, match="replica"):
            installed.server.apply(wrong, force=True, dry_run=True)

    def test_it_says_what_it_does_and_does_it_once(self, place: Place) -> None:
        """A second time, nothing changes."""
        first = place.smeagol("install").splitlines()
        assert f"Namespace {SYSTEM} created" in first
        assert "Deployment smeagol-system/smeagol-controller created" in first
        versions = {live.ref: live.metadata.resource_version for live in ours(place)}
        second = place.smeagol("install").splitlines()
        assert all(line.endswith(" unchanged") for line in second[:-1]), second
        assert {live.ref: live.metadata.resource_version for live in ours(place)} == versions

    def test_another_setting_changes_what_it_is_about(self, installed: Place) -> None:
        """Installing again is upgrading."""
        lines = installed.smeagol("install", "--replicas", "3", "--pod-cidr", "10.244.0.0/16").splitlines()
        assert [line for line in lines if line.endswith(" changed")] == [
            "Deployment smeagol-system/smeagol-controller changed"
        ]
        assert "    spec.replicas: 2 → 3" in lines

    def test_a_dry_run_changes_nothing(self, place: Place) -> None:
        """Before the first installation too, where half of it has nothing to stand on yet."""
        before = place.settled()
        printed = place.smeagol("install", "--dry-run")
        assert "Nothing was changed" in printed
        assert place.everything() == before

    def test_what_it_prints_can_be_applied_by_others(self, installed: Place) -> None:
        """`-o yaml` is for GitOps: kubectl takes it, strictly."""
        text = CliRunner().invoke(build(), ["install", "-o", "yaml"]).output
        applied = installed.cluster.kubectl(
            "apply",
            "--server-side",
            "--validate=strict",
            "--dry-run=server",
            "--force-conflicts",
            "-f",
            "-",
            stdin=text,
        )
        assert len(applied.splitlines()) == len(manifests(SETTINGS))

    def test_the_restricted_standard_lets_the_pods_in(self, installed: Place) -> None:
        """The namespace enforces it, and its ReplicaSet could make both Pods."""
        wait_for(
            "two Pods",
            lambda: len(installed.server.list(POD, namespace=SYSTEM)) == 2,
            within_seconds=60,
        )

    def test_a_namespace_that_is_there_is_used_as_it_is(self, place: Place) -> None:
        """It is somebody else's: neither labelled nor, later, removed."""
        place.cluster.kubectl("create", "namespace", "home")
        before = place.server.get(NAMESPACE, "home")
        assert before is not None
        assert "Namespace home kept" in place.smeagol("install", "--namespace", "home")
        place.smeagol("uninstall")
        after = place.server.get(NAMESPACE, "home")
        assert after is not None
        assert after.body == before.body
        place.cluster.kubectl("delete", "namespace", "home")

    def test_fields_of_others_are_not_taken_silently(self, installed: Place) -> None:
        """The message names the field and its manager; --force takes it."""
        installed.cluster.kubectl("-n", SYSTEM, "scale", "deployment", CONTROLLER, "--replicas=5")
        with pytest.raises(Exception, match=r"\.spec\.replicas.*--force.*SMI-K113"):
            installed.smeagol("install")
        installed.smeagol("install", "--force")
        assert "replicas: 2" in installed.cluster.kubectl("-n", SYSTEM, "get", "deployment", CONTROLLER, "-o", "yaml")

    def test_a_second_installation_is_refused(self, installed: Place) -> None:
        """Two control planes would write the same statuses."""
        with pytest.raises(Exception, match=f"{SYSTEM}.*SMI-K117"):
            installed.smeagol("install", "--namespace", "elsewhere")

    def test_it_is_the_default_class_only_if_there_is_no_other(self, installed: Place) -> None:
        """spec: of several defaults the oldest counts, which nobody should have to know."""
        annotation = "smi-spec.io/is-default-class"
        ours_ = installed.server.get(PROVIDER_CLASS, "envoy")
        assert ours_ is not None
        assert ours_.metadata.annotations[annotation] == "true"
        other = f"""
        apiVersion: smi-spec.io/v1beta1
        kind: ProviderClass
        metadata: {{name: other, annotations: {{{annotation}: "true"}}}}
        spec: {{controllerName: example.com/other}}
        """
        installed.cluster.kubectl("apply", "-f", "-", stdin=other)
        installed.smeagol("install")
        ours_ = installed.server.get(PROVIDER_CLASS, "envoy")
        assert ours_ is not None
        assert annotation not in ours_.metadata.annotations


def ours(place: Place) -> Iterator[Live]:
    for manifest in manifests(SETTINGS):
        live = place.server.get(manifest.resource, manifest.name, manifest.namespace)
        assert live is not None, manifest.ref
        # The Deployment's status is written by Kubernetes all the time.
        if manifest.resource != DEPLOYMENT and manifest.resource.kind != "PodDisruptionBudget":
            yield live


class TestUpgrade:
    """The version of the command, with the settings of what is there."""

    def test_settings_are_kept_and_an_old_object_goes(self, place: Place) -> None:
        """Replicas and addresses stay as they were set; what this version has no more is removed, and only that."""
        place.smeagol("install", "--replicas", "3", "--pod-cidr", "10.244.0.0/16")
        old = Manifest(
            resource=SERVICE,
            name="smeagol-old",
            namespace=SYSTEM,
            labels=OWN_LABELS,
            annotations={CREATED_ANNOTATION: "true"},
            content={"spec": {"ports": [{"port": 1}]}},
        )
        place.server.apply(old)
        before = place.settled()
        said = place.smeagol("upgrade", "--dry-run")
        assert f"Service {SYSTEM}/smeagol-old deleted" in said
        assert "Nothing was changed" in said
        assert place.everything() == before
        assert "deleted" not in place.smeagol("upgrade", "--no-wait")
        installed = find_installed(place.server)
        steps = list(prune(place.server, installed.settings, dry_run=False))
        assert [(step.object.name, step.outcome) for step in steps] == [("smeagol-old", Outcome.DELETED)]
        assert installed.settings.replicas == 3
        assert installed.settings.pod_cidrs == ("10.244.0.0/16",)

    def test_adapters_are_kept_until_they_are_not_wanted(self, place: Place) -> None:
        """And go with all that was theirs."""
        place.smeagol("install", "--adapter", "gateway-api", "--adapter", "smi")
        assert find_installed(place.server).adapters == ("gateway-api", "smi")
        assert "adapters" not in place.smeagol("upgrade", "--dry-run")
        said = place.smeagol("upgrade", "--no-adapters", "--dry-run")
        assert f"Deployment {SYSTEM}/smeagol-adapters deleted" in said
        gone = {step.object for step in prune(place.server, find_installed(place.server).settings, dry_run=False)}
        assert {"smeagol-adapters", "gateway-api", "smi"} == {ref.name for ref in gone}
        assert find_installed(place.server).adapters == ()

    def test_a_version_too_far_away_is_refused(self, installed: Place) -> None:
        """Unless one insists."""
        label = "app.kubernetes.io/version=0.99.0"
        installed.cluster.kubectl("-n", SYSTEM, "label", "--overwrite", "deployment/smeagol-controller", label)
        with pytest.raises(TooFarError, match=r"0\.99\.0"):
            installed.smeagol("upgrade", "--no-wait")
        assert "0.99.0 →" in installed.smeagol("upgrade", "--no-wait", "--any-version", "--force")

    def test_there_must_be_something_to_upgrade(self, place: Place) -> None:
        """And what there is to do is said."""
        with pytest.raises(NotInstalledError, match="smeagol install"):
            place.smeagol("upgrade")


class TestUninstall:
    """The cluster as it was."""

    def test_all_objects_are_as_before(self, place: Place, tmp_path: Path) -> None:
        """After the control plane has worked there too: its keys, its Lease, its Events and its objects are gone."""
        before = place.settled()
        place.smeagol("install")
        with control_plane(place, tmp_path):
            place.cluster.kubectl("apply", "-f", "-", stdin=SIDECAR)
            wait_for("an Event", place.events_of_smeagol, within_seconds=120)
        place.smeagol("uninstall", "--yes")
        assert_becomes(place.everything, before)
        assert place.events_of_smeagol() == []

    def test_definitions_that_were_there_stay_with_their_objects(self, place: Place) -> None:
        """Whoever applied the definitions before keeps them."""
        definitions = CliRunner().invoke(build(), ["crds"]).output
        place.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=definitions)
        place.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        wait_for("the kinds", lambda: "sidecars" in place.cluster.kubectl("api-resources"), within_seconds=120)
        place.cluster.kubectl("apply", "-f", "-", stdin=SIDECAR)
        before = place.settled()
        place.smeagol("install")
        printed = place.smeagol("uninstall")
        assert "CustomResourceDefinition sidecars.smi-spec.io given back" in printed
        assert_becomes(place.everything, before)
        place.cluster.kubectl("delete", "-f", "-", stdin=definitions)

    def test_objects_of_users_are_not_deleted_unasked(self, installed: Place) -> None:
        """There is nobody to ask here, so it wants --yes, and says what would go."""
        installed.cluster.kubectl("apply", "-f", "-", stdin=SIDECAR)
        with pytest.raises(Exception, match=r"--yes.*SMI-K114"):
            installed.smeagol("uninstall")
        assert installed.server.get(DEPLOYMENT, CONTROLLER, SYSTEM) is not None
        assert "Sidecar default/watched" in installed.smeagol("uninstall", "--yes")

    def test_pods_that_keep_their_proxy_are_named(self, installed: Place) -> None:
        """They go on, and nobody configures them any more."""
        pod = (
            "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: smeagol-proxy, image: e}]}}"
        )
        wait_for(
            "the service account",
            lambda: "default" in installed.cluster.kubectl("get", "serviceaccounts", "-o", "name"),
            within_seconds=60,
        )
        installed.cluster.kubectl("apply", "-f", "-", stdin=pod)
        printed = installed.smeagol("uninstall", "--dry-run")
        assert "1 Pods keep their proxy" in printed
        assert "Pod default/web: nobody makes it anew: delete it, and make it again" in printed
        installed.cluster.kubectl("delete", "pod", "web", "--now")

    def test_a_namespace_in_which_others_live_stays(self, installed: Place) -> None:
        """It made the namespace, but not what somebody has put there since."""
        installed.cluster.kubectl("-n", SYSTEM, "create", "configmap", "diary", "--from-literal=day=1")
        assert f"Namespace {SYSTEM} kept" in installed.smeagol("uninstall")
        assert "diary" in installed.cluster.kubectl("-n", SYSTEM, "get", "configmaps", "-o", "name")
        installed.cluster.kubectl("delete", "namespace", SYSTEM)

    def test_where_nothing_is_nothing_happens(self, place: Place) -> None:
        """And it is not an error: it can be run twice."""
        assert "Nothing here" in place.smeagol("uninstall")


def test_what_was_saved_is_restored(place: Place, tmp_path: Path) -> None:
    """As docs/operations.md has it, word for word: the control plane goes on with the keys and objects of before."""
    cluster = place.cluster
    path = os.pathsep.join(map(str, (Path(sys.executable).parent, cluster.kubectl_program.parent, os.environ["PATH"])))
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}
    (commands,) = (
        block.text for block in blocks(DOCS / "operations.md", "sh") if "apply -f objects.yaml" in block.text
    )
    save = (
        f"kubectl -n {SYSTEM} get secret smeagol-authority -o yaml > smeagol-authority.yaml",
        "kubectl get smi -A -o yaml > objects.yaml",
    )

    def is_done(command: str) -> bool:
        return not subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        ).returncode

    def keys() -> Json:
        secret = place.server.get(SECRET, "smeagol-authority", SYSTEM)
        return secret.body["data"] if secret is not None else None

    place.smeagol("install")
    cluster.kubectl("apply", "-f", "-", stdin=SIDECAR)
    first, second = (tmp_path / "first", tmp_path / "second")
    for folder in (first, second):
        folder.mkdir()
    with control_plane(place, first):
        wait_for("its keys", keys, within_seconds=60)
    before = keys()
    assert all(is_done(command) for command in save)
    place.smeagol("uninstall", "--yes")
    for command in commands.replace(" --wait", "").splitlines():  # replicas that no node runs
        # A definition is served a moment after it was applied.
        wait_for(command, lambda command=command: is_done(command), within_seconds=60)  # type: ignore[misc]  # a default makes it this turn's
    with control_plane(place, second):
        wait_for("it serves", (second / "discovery").exists, within_seconds=60)
        cluster.kubectl("wait", "sidecar/watched", "--for=condition=Accepted", "--timeout=60s")
        assert keys() == before
    place.smeagol("uninstall")
    definitions = CliRunner().invoke(build(), ["crds"]).output
    cluster.kubectl("delete", "-f", "-", stdin=definitions)
    cluster.kubectl("delete", "namespace", SYSTEM)


def test_pods_older_than_their_label_are_replaced(api: Place) -> None:
    """A template may have had the label before there was a Smeagol. Those that are being replaced are left to it."""
    api.cluster.kubectl("create", "namespace", "early")
    template: Json = {
        "metadata": {"labels": {"app": "web", "smi-spec.io/inject": "enabled"}},
        "spec": {"containers": [{"name": "web", "image": "e"}]},
    }
    spec: Json = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    web: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    api.cluster.kubectl("-n", "early", "apply", "-f", "-", stdin=json.dumps(web))
    wait_for("its Pod", lambda: api.server.list(POD, namespace="early"), within_seconds=60)
    wait_for(
        "it has looked",
        lambda: "unchanged" not in api.smeagol("inject", "deployment/web", "-n", "early", "--dry-run"),
        within_seconds=60,
    )
    assert "Deployment early/web restarted" in api.smeagol("inject", "deployment/web", "-n", "early")
    wait_for("a second Pod", lambda: len(api.server.list(POD, namespace="early")) == 2, within_seconds=60)
    assert "Deployment early/web unchanged" in api.smeagol("inject", "deployment/web", "-n", "early")
    api.cluster.kubectl("delete", "namespace", "early")


def test_who_cannot_be_restarted_is_named(api: Place) -> None:
    """A whole namespace is put into the mesh; and one that is not there is not made."""
    api.cluster.kubectl("create", "namespace", "lone")
    wait_for(
        "the service account",
        lambda: "default" in api.cluster.kubectl("-n", "lone", "get", "serviceaccounts", "-o", "name"),
        within_seconds=60,
    )
    api.cluster.kubectl("-n", "lone", "run", "web", "--image=e")
    api.cluster.kubectl("-n", "lone", "run", "out", "--image=e", "--labels=smi-spec.io/inject=disabled")
    lines = api.smeagol("inject", "--all", "-n", "lone").splitlines()
    assert lines == [
        "Namespace lone enabled",
        "Not restarted: Pod lone/web: nobody makes it anew: delete it, and make it again",
    ]
    api.cluster.kubectl("delete", "namespace", "lone")
    with pytest.raises(Exception, match=r"no namespace 'lone'.*SMI-K121"):
        api.smeagol("inject", "--all", "-n", "lone")
    assert api.server.get(NAMESPACE, "lone") is None


class TestLeastPrivilege:
    """The rights that are installed are enough."""

    def test_the_control_plane_works_with_its_own_token(self, installed: Place, tmp_path: Path) -> None:
        """It watches, leads, keeps its keys, writes statuses and Events; nothing is forbidden to it."""
        installed.cluster.kubectl("apply", "-f", "-", stdin=SIDECAR)
        with control_plane(installed, tmp_path) as log:
            installed.cluster.kubectl("wait", "providerclass/envoy", "--for=condition=Accepted", "--timeout=60s")
            installed.cluster.kubectl("wait", "sidecar/watched", "--for=condition=Accepted", "--timeout=60s")
            wait_for("an Event", installed.events_of_smeagol, within_seconds=120)
            wait_for("the Lease", lambda: installed.server.get(LEASE, "smeagol", SYSTEM), within_seconds=120)
            secret = installed.server.get(SECRET, "smeagol-authority", SYSTEM)
            assert secret is not None
            checked = installed.smeagol("check")
        assert "forbidden" not in log.read_text(encoding="utf-8").lower()
        assert "the ProviderClass 'envoy' is accepted" in checked
        assert "the mesh's keys are in the Secret" in checked
        assert "Sidecar default/watched is not ResolvedRefs" in checked

    async def test_it_may_ask_who_a_proxy_is(self, installed: Place, tmp_path: Path) -> None:
        """By TokenReview, with a token that is bound to a Pod."""
        pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: e}]}}"
        installed.cluster.kubectl("apply", "-f", "-", stdin=pod)
        token = installed.cluster.kubectl(
            "create", "token", "default", "--audience=smeagol", "--bound-object-kind=Pod", "--bound-object-name=web"
        )
        async with connect(kubeconfig_of_account(installed, tmp_path)) as client:
            assert await TokenReviewer(client).owner_of(token.strip()) == "default/web"
        installed.cluster.kubectl("delete", "pod", "web", "--now")

    def test_what_it_may_not(self, installed: Place) -> None:
        """Read others' Secrets, touch workloads, change what users wrote, give itself more."""
        account = f"system:serviceaccount:{SYSTEM}:{CONTROLLER}"
        for verb, group, resource, namespace, name in (
            ("get", "", "secrets", "default", "smeagol-authority"),
            ("get", "", "secrets", SYSTEM, "other"),
            ("list", "", "secrets", SYSTEM, ""),
            ("update", "coordination.k8s.io", "leases", SYSTEM, "other"),
            ("create", "", "pods", SYSTEM, ""),
            ("patch", "", "pods", "default", ""),
            ("delete", "smi-spec.io", "canaries", "default", ""),
            ("patch", "smi-spec.io", "canaries", "default", ""),
            ("patch", "apps", "deployments", SYSTEM, ""),
            ("create", "rbac.authorization.k8s.io", "clusterroles", "", ""),
        ):
            asked = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
            assert not allowed(installed, account, asked), asked
        # The question is put rightly: what it may do is answered so.
        keys = {"verb": "get", "resource": "secrets", "namespace": SYSTEM, "name": "smeagol-authority"}
        assert allowed(installed, account, keys)


def allowed(place: Place, account: str, attributes: dict[str, str]) -> bool:
    """What the API server's authorizer says (authorization.k8s.io/v1 SubjectAccessReview)."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": attributes},
    }
    answer = place.cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    verdict: bool = json.loads(answer)["status"]["allowed"]
    return verdict


class TestIntermediateFromOutside:
    """`--ca-secret`: with the rights that are installed, and the keys that somebody else renews."""

    def test_it_is_waited_for_followed_and_never_replaced(self, place: Place, tmp_path: Path) -> None:
        """Handed over late, renewed, spoilt, of another root: what the control plane shows leads to what is trusted."""
        place.smeagol("install", "--ca-secret", "mesh-ca")
        mine, other = root_of("one"), root_of("two")
        with control_plane(place, tmp_path, "--ca-secret", "mesh-ca") as log:

            def told(what: str) -> None:
                wait_for(what, lambda: what in log.read_text(encoding="utf-8"), within_seconds=90)

            def kept() -> list[str]:
                """The intermediates that are kept, those of the signing root first."""
                secret = place.server.get(SECRET, "smeagol-authority", SYSTEM)
                if secret is None:
                    return []
                data = secret.body["data"]
                assert isinstance(data, dict)
                document = json.loads(base64.b64decode(str(data["supplied"])))
                return [found["certificate"] for found in document["generations"]]

            told("there is no such Secret")
            checked = place.smeagol("check")
            assert (
                "problem  the intermediate that is handed over (--ca-secret) cannot be used, and nothing si" in checked
            )
            assert "Secret smeagol-system/mesh-ca: the intermediate has not been handed over" in checked
            first = hand_over(place.cluster, mine)
            wait_for("it begins with the first", lambda: kept() == [first], within_seconds=120)
            wait_for("it serves", (tmp_path / "discovery").exists, within_seconds=120)
            assert "ok       the mesh's keys are in the Secret" in place.smeagol("check")
            renewed = hand_over(place.cluster, mine)
            wait_for("it follows the second", lambda: kept() == [renewed], within_seconds=90)
            hand_over(place.cluster, mine, key_of=other)
            told("Secret smeagol-system/mesh-ca, tls.key: is not the key of the first certificate")
            checked = place.smeagol("check")
            assert (
                "warning  the intermediate that is handed over (--ca-secret) cannot be used, and the last good"
                in checked
            )
            assert "Secret smeagol-system/mesh-ca, tls.key: is not the key of the first certificate" in checked
            assert kept() == [renewed]
            another = hand_over(place.cluster, other)
            wait_for("both roots are kept", lambda: kept() == [renewed, another], within_seconds=90)
        place.cluster.kubectl("-n", SYSTEM, "delete", "secret", "mesh-ca")  # or the namespace would stay
        assert "forbidden" not in log.read_text(encoding="utf-8").lower()
        assert "PRIVATE KEY" not in log.read_text(encoding="utf-8")

    def test_the_rights_are_those_of_one_secret(self, place: Place) -> None:
        """To read it, and only where it is named."""
        account = f"system:serviceaccount:{SYSTEM}:{CONTROLLER}"
        get = {"verb": "get", "resource": "secrets", "namespace": SYSTEM, "name": "mesh-ca"}
        place.smeagol("install")
        assert not allowed(place, account, get)
        place.smeagol("install", "--ca-secret", "mesh-ca")
        assert allowed(place, account, get)
        assert not allowed(place, account, {**get, "verb": "patch"})


SIGNER = "example.com/mesh"
CSRS = "certificatesigningrequests.certificates.k8s.io"


class TestIntermediateThatIsAskedFor:
    """`--ca-signer`: by a CertificateSigningRequest, which others approve and sign; here the test is these others."""

    def test_from_the_first_request_to_another_root(self, place: Place, tmp_path: Path) -> None:
        """Approved late, denied, signed late, signed by the wrong root, renewed, and renewed by another root: the
        control plane says what it waits for, and what was last good signs meanwhile."""
        place.smeagol("install", "--ca-signer", SIGNER, "--ca-roots", "mesh-roots")
        mine, other = root_of("one"), root_of("two")
        signer = Signer(place)
        with control_plane(place, tmp_path, "--ca-signer", SIGNER, "--ca-roots", "mesh-roots") as log:

            def told(what: str) -> None:
                wait_for(what, lambda: what in log.read_text(encoding="utf-8"), within_seconds=90)

            def kept() -> list[str]:
                """The intermediates that are kept, those of the signing root first."""
                secret = place.server.get(SECRET, "smeagol-authority", SYSTEM)
                data = secret.body["data"] if secret is not None else {}
                assert isinstance(data, dict)
                if "supplied" not in data:
                    assert "authority" not in data  # none of the mesh's own instead
                    return []
                document = json.loads(base64.b64decode(str(data["supplied"])))
                return [found["certificate"] for found in document["generations"]]

            told("ConfigMap smeagol-system/mesh-roots: there is no such ConfigMap")
            signer.trust(mine)
            told("nobody has approved it yet")
            assert f"{SIGNER} has not signed an intermediate yet (--ca-signer)" in place.smeagol("check")
            first = signer.open_request()
            spec = signer.get(first)["spec"]
            assert spec["username"] == f"system:serviceaccount:{SYSTEM}:{CONTROLLER}"
            assert spec["usages"] == ["cert sign", "crl sign", "server auth", "client auth"]
            signer.answer(first, "deny")
            told("its approver has denied it (KubectlDeny: This CSR was denied by kubectl certificate deny.)")
            signer.delete(first)
            wait_for("it is asked for again", lambda: signer.open_request() == first, within_seconds=90)
            signer.answer(first, "approve")
            told(f"{SIGNER} has not signed it yet")
            signer.sign(first, other)
            told(f"{SIGNER} has signed what can't be used: ConfigMap smeagol-system/mesh-roots holds no self-signed")
            assert kept() == []
            signer.delete(first)
            wait_for("it is asked for once more", lambda: signer.open_request() == first, within_seconds=90)
            signer.answer(first, "approve")
            signed = signer.sign(first, mine, days_left=10)
            wait_for("it begins with that", lambda: kept() == [signed], within_seconds=90)
            wait_for("it serves", (tmp_path / "discovery").exists, within_seconds=120)

            second = wait_for("most of its life is over: another", signer.open_request, within_seconds=90)
            assert second != first
            wait_for("it is counted", lambda: "smeagol_authority_failing 1.0" in metrics(tmp_path), within_seconds=120)
            assert kept() == [signed]
            signer.answer(second, "approve")
            renewed = signer.sign(second, mine)
            wait_for("the second signs", lambda: kept() == [renewed], within_seconds=90)
            wait_for("all is well", lambda: "smeagol_authority_failing 0.0" in metrics(tmp_path), within_seconds=120)
            assert not signer.open_request()

            signer.trust(mine, other)
            forget = json.dumps([{"op": "remove", "path": "/data/requested"}])
            place.cluster.kubectl(
                "-n", SYSTEM, "patch", "secret", "smeagol-authority", "--type=json", "-p", forget
            )  # as docs/certificates.md has it
            third = wait_for("a third before its time", signer.open_request, within_seconds=90)
            signer.answer(third, "approve")
            another = signer.sign(third, other)
            wait_for("both roots are kept", lambda: kept() == [renewed, another], within_seconds=90)
        place.cluster.kubectl("-n", SYSTEM, "delete", "configmap", "mesh-roots")  # or the namespace would stay
        place.cluster.kubectl("delete", CSRS, "--all")
        assert "forbidden" not in log.read_text(encoding="utf-8").lower()
        assert "status 403" not in log.read_text(encoding="utf-8")
        assert "PRIVATE KEY" not in log.read_text(encoding="utf-8")

    def test_replicas_that_begin_together_ask_once(self, place: Place) -> None:
        """One saves its request, and the others go on with that one. It is what is waited for, whoever has handed over
        the last one.
        """
        place.smeagol("install")
        signer = Signer(place)
        signer.trust(root_of("one"))

        def look(client: httpx2.Client, *held: Supplied) -> str:
            keys = SecretKeyStore(client, namespace=SYSTEM, name="smeagol-authority", entry="requested")
            supply = SigningSupply(client, keys, signer=SIGNER, namespace=SYSTEM, roots="mesh-roots", clock=utc_now)
            with pytest.raises((SigningError, StoreError)) as caught:
                supply.load(held)
            return str(caught.value)

        with ExitStack() as open_, ThreadPoolExecutor(4) as replicas:
            clients = [open_.enter_context(connect_blocking(place.cluster.kubeconfig)) for _ in range(4)]
            first = list(replicas.map(look, clients))
            name = signer.open_request()  # which is the only one
            others = [said for said in first if name not in said]
            assert all("somebody else has written it" in said for said in others), others
            assert all(name in said for said in replicas.map(look, clients))
            assert signer.open_request() == name
            hand_over(place.cluster, root_of("two"))
            assert name in look(clients[0], SecretSupply(clients[0], namespace=SYSTEM, name=CA_SECRET).load(()))
        signer.delete(name)
        place.cluster.kubectl("-n", SYSTEM, "delete", f"secret/{CA_SECRET}", "configmap/mesh-roots")

    def test_the_rights_are_to_ask_and_no_more(self, place: Place) -> None:
        """Neither to approve, nor to sign, nor to change or remove a request; and none of it without a signer."""
        account = f"system:serviceaccount:{SYSTEM}:{CONTROLLER}"
        group = {"group": "certificates.k8s.io"}
        asking = [{**group, "resource": "certificatesigningrequests", "verb": verb} for verb in ("create", "get")]
        roots = {"resource": "configmaps", "namespace": SYSTEM, "name": "mesh-roots", "verb": "get"}
        place.smeagol("install")
        assert not any(allowed(place, account, asked) for asked in (*asking, roots))
        place.smeagol("install", "--ca-signer", SIGNER, "--ca-roots", "mesh-roots")
        assert all(allowed(place, account, asked) for asked in (*asking, roots))
        for asked in (
            *({**asking[0], "verb": verb} for verb in ("list", "update", "patch", "delete")),
            *({**asking[0], "verb": "update", "subresource": part} for part in ("approval", "status")),
            *({**group, "resource": "signers", "name": SIGNER, "verb": verb} for verb in ("approve", "sign")),
            {**roots, "name": "other"},
            {**roots, "verb": "patch"},
        ):
            assert not allowed(place, account, asked), asked


def metrics(folder: Path) -> str:
    """What the control plane of `control_plane` counts; empty while it does not answer."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(folder / "health"))) as client:
        try:
            return client.get("http://localhost/metrics").text
        except httpx2.HTTPError:
            return ""


@dataclass(frozen=True)
class Signer:
    """Approves and signs as an administrator and a signer's controller do."""

    place: Place

    def trust(self, *roots: Issuer) -> None:
        """Publish these roots, as trust-manager does."""
        config_map: Json = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "mesh-roots", "namespace": SYSTEM},
            "data": {"ca.crt": to_pem(root.certificate for root in roots).decode()},
        }
        self.place.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(config_map))

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.place.cluster.kubectl("get", CSRS, name, "-o", "json"))
        return found

    def open_request(self) -> str:
        """The name of the one that nobody has answered yet; empty if there is none."""
        found = json.loads(self.place.cluster.kubectl("get", CSRS, "-o", "json"))["items"]
        names = [csr["metadata"]["name"] for csr in found if not csr["status"]]
        assert len(names) < 2, names
        return names[0] if names else ""

    def answer(self, name: str, verb: str) -> None:
        self.place.cluster.kubectl("certificate", verb, name)

    def delete(self, name: str) -> None:
        self.place.cluster.kubectl("delete", CSRS, name)

    def sign(self, name: str, root: Issuer, *, days_left: int = 80) -> str:
        """Whatever is asked, an intermediate of 90 days, of which so many are left."""
        request = x509.load_pem_x509_csr(base64.b64decode(self.get(name)["spec"]["request"]))
        usage = x509.KeyUsage(**dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True})
        end = utc_now() + timedelta(days=days_left)
        made = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(root.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=90))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(root.key, hashes.SHA256())
        )
        certificate = to_pem([made])
        patch = json.dumps({"status": {"certificate": base64.b64encode(certificate).decode()}})
        self.place.cluster.kubectl("patch", CSRS, name, "--subresource=status", "--type=merge", "-p", patch)
        return certificate.decode()


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)

YEAR = timedelta(days=365)


def utc_now() -> datetime:
    return datetime.now(UTC)


class TestCheck:
    """Findings, with cause and cure."""

    def test_before(self, place: Place) -> None:
        """The cluster is fit, and nothing is there yet."""
        printed = place.smeagol("check")
        assert "ok       the API server answers; Kubernetes v1." in printed
        assert "Smeagol is not installed" in printed
        assert "problem" not in printed

    def test_what_whoever_asks_may_not_do(self, place: Place, tmp_path: Path) -> None:
        """An ordinary account lacks rights, and is told which and what to do."""
        reader = """
        apiVersion: rbac.authorization.k8s.io/v1
        kind: ClusterRole
        metadata: {name: only-reader}
        rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list]}]
        """
        place.cluster.kubectl("apply", "-f", "-", stdin=reader)
        place.cluster.kubectl("create", "serviceaccount", "reader")
        place.cluster.kubectl(
            "create",
            "clusterrolebinding",
            "only-reader",
            "--clusterrole=only-reader",
            "--serviceaccount=default:reader",
        )
        kubeconfig = kubeconfig_of_account(place, tmp_path, account="reader", namespace="default")
        done = CliRunner().invoke(build(), ["check", "--kubeconfig", str(kubeconfig)])
        assert done.exit_code == 1
        assert "you may not create customresourcedefinitions.apiextensions.k8s.io. Let a cluster adm" in done.output
        place.cluster.kubectl("delete", "clusterrole,clusterrolebinding", "only-reader")
        place.cluster.kubectl("delete", "serviceaccount", "reader")

    def test_after_without_nodes(self, installed: Place) -> None:
        """Each thing that does not work is a problem of its own, and the exit code says so."""
        printed = installed.smeagol("check")
        assert "problem  0 of 2 replicas are available" in printed
        assert "no replica leads" in printed
        assert "has no ready endpoint" in printed
        done = CliRunner().invoke(build(), ["check", "--kubeconfig", str(installed.cluster.kubeconfig)])
        assert done.exit_code == 1

    def test_for_programs(self, installed: Place) -> None:
        """The same findings, and nothing else on standard output; the exit code stays."""
        done = CliRunner().invoke(build(), ["check", "-o", "json", "--kubeconfig", str(installed.cluster.kubeconfig)])
        assert done.exit_code == 1
        found = json.loads(done.stdout)
        assert all(list(each) == ["level", "message", "fix", "code"] for each in found)
        assert "no replica leads: nobody writes" in [each["message"] for each in found if each["level"] == "problem"]


def assert_becomes(found: Callable[[], dict[str, Json]], wanted: dict[str, Json]) -> None:
    """Kubernetes takes a moment: API services and what belongs to something that was deleted go by and by."""
    deadline = time.monotonic() + 120
    while (now := found()) != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    assert sorted(now) == sorted(wanted)
    assert now == wanted


def kubeconfig_of_account(place: Place, folder: Path, *, account: str = CONTROLLER, namespace: str = SYSTEM) -> Path:
    """Whoever uses it is that service account."""
    token = place.cluster.kubectl("-n", namespace, "create", "token", account).strip()
    name: Json = "it"
    file = folder / f"kubeconfig-{account}"
    file.touch(mode=0o600)
    file.write_text(
        write_text(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": name,
                        "cluster": {"server": place.cluster.server, "certificate-authority": str(place.cluster.ca)},
                    }
                ],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
                "current-context": name,
            }
        ),
        encoding="utf-8",
    )
    return file


@contextmanager
def control_plane(place: Place, folder: Path, *options: str) -> Iterator[Path]:
    """One replica, as the installed service account, while the block runs; its log."""
    log = folder / "controller.log"
    command: list[str] = [
        *(str(Path(sys.executable).parent / "smeagol"), "controller", "--identity", "replica-a"),
        *("--kubeconfig", str(kubeconfig_of_account(place, folder))),
        *("--discovery-address", f"unix:{folder / 'discovery'}"),
        *("--peers-address", f"unix:{folder / 'peers'}"),
        *("--health-address", f"unix:{folder / 'health'}"),
        *options,
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield log
        assert process.poll() is None, log.read_text(encoding="utf-8")
    finally:
        process.terminate()  # as the kubelet does; SIGINT is ignored by what a shell has put into the background
        try:
            process.wait(60)
        finally:
            process.kill()
