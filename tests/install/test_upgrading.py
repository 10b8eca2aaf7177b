"""What upgrading decides: from what is there, how far it may go, and whom it concerns."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.api.documents import Json
from smeagol.install import InstallSettings, manifests
from smeagol.install.api_server import Live
from smeagol.install.differences import differences
from smeagol.install.owners import owners_of, renewals
from smeagol.install.resources import DEPLOYMENT, MANAGED_BY
from smeagol.install.settings import PROXY_IMAGE
from smeagol.install.upgrading import (
    OthersInstallationError,
    TooFarError,
    installed_from,
    next_image,
    next_proxy_image,
    outdated_owners,
    refuse_others,
    refuse_skew,
)
from smeagol.objects import Container, Metadata, OwnerReference, Pod, PodSpec
from smeagol.refs import ObjectRef

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def test_settings_come_back_from_the_deployment() -> None:
    """All that was set at installation, or added by hand, so that an upgrade keeps it."""
    settings = InstallSettings(
        version="1.2.3",
        image="mirror.example/smeagol:1.2.3",
        namespace="mesh",
        proxy_image="mirror.example/envoy:1",
        replicas=3,
        pod_cidrs=("10.0.0.0/8", "fd00::/8"),
        cluster_domain="example.local",
        trust_domain="trust.example",
        ca_secret="mesh-ca",
        ca_signer="example.com/mesh",
        ca_roots="mesh-roots",
        proxy_cpu_request="50m",
        proxy_cpu_limit="1",
        proxy_memory_request="96Mi",
        proxy_memory_limit="2Gi",
        proxy_concurrency="4",
        further=("--verbose", "--of-tomorrow", "x"),
    )
    (made,) = (manifest for manifest in manifests(settings) if manifest.resource == DEPLOYMENT)
    body = made.to_json()
    metadata = Metadata(name=made.name, namespace=made.namespace, labels=dict(made.labels))
    installed = installed_from(Live(resource=DEPLOYMENT, metadata=metadata, body=body))
    assert installed.settings == settings
    assert installed.version == "1.2.3"
    refuse_others(installed)


def test_what_another_tool_has_applied_is_left_to_it() -> None:
    """It is found, for what is about the mesh and not about its objects; the message says who has it."""
    settings = InstallSettings(version="1", image="i", namespace="mesh")
    (made,) = (manifest for manifest in manifests(settings) if manifest.resource == DEPLOYMENT)
    metadata = Metadata(name=made.name, namespace="mesh", labels={**made.labels, MANAGED_BY: "Helm"})
    installed = installed_from(Live(resource=DEPLOYMENT, metadata=metadata, body=made.to_json()))
    assert installed.settings == settings
    with pytest.raises(OthersInstallationError, match=r"installed by Helm.*helm uninstall, with -n mesh.*SMI-K119"):
        refuse_others(installed)


@pytest.mark.parametrize(("old", "new"), [("1.2.3", "1.2.9"), ("1.2.0", "1.3.0"), ("1.3.0", "1.2.0"), ("v1.2", "1.3")])
def test_one_minor_version_is_near_enough(old: str, new: str) -> None:
    """In both directions: an upgrade can be taken back."""
    refuse_skew(old, new)


@pytest.mark.parametrize(("old", "new"), [("1.2.0", "1.4.0"), ("1.9.0", "2.0.0"), ("", "1.0.0"), ("dev", "1.0.0")])
def test_more_is_refused(old: str, new: str) -> None:
    """And so is what nobody can tell."""
    with pytest.raises(TooFarError):
        refuse_skew(old, new)


def test_the_image_keeps_its_place() -> None:
    """A mirror stays a mirror; a digest, or a tag of one's own, is not guessed at."""
    assert next_image("mirror.example:5000/smeagol:0.1.0", "0.1.0", "0.2.0") == "mirror.example:5000/smeagol:0.2.0"
    assert next_image("smeagol@sha256:00", "0.1.0", "0.2.0") == "smeagol@sha256:00"


def test_a_chosen_proxy_stays() -> None:
    """Only the usual image of another version is followed by that of this one."""
    assert next_proxy_image("envoyproxy/envoy:distroless-v1.38.2") == PROXY_IMAGE
    assert next_proxy_image("mirror.example/envoy:distroless-v1.38.2") == "mirror.example/envoy:distroless-v1.38.2"
    assert next_proxy_image("envoyproxy/envoy@sha256:00") == "envoyproxy/envoy@sha256:00"


def test_every_argument_of_an_installation_is_read_back() -> None:
    """A setting that only the way there knows would be lost by an upgrade, silently."""
    given = {field.name for field in fields(InstallSettings)} - {"adapters", "further"}
    full = InstallSettings(
        version="1",
        image="i",
        pod_cidrs=("10.0.0.0/8",),
        trust_domain="t.example",
        ca_secret="s",
        ca_signer="example.com/mesh",
        ca_roots="r",
        proxy_cpu_request="50m",
        proxy_cpu_limit="1",
        proxy_memory_request="96Mi",
        proxy_memory_limit="2Gi",
        proxy_concurrency="4",
    )
    assert {field for field in given if not getattr(full, field)} == set(), "this test gives every setting a value"
    (made,) = (manifest for manifest in manifests(full) if manifest.resource == DEPLOYMENT)
    metadata = Metadata(name=made.name, namespace=made.namespace, labels=dict(made.labels))
    assert installed_from(Live(resource=DEPLOYMENT, metadata=metadata, body=made.to_json())).settings == full


def test_pods_with_another_proxy_are_told_by_owner() -> None:
    """A Deployment by its name, though a ReplicaSet owns the Pods; those without a proxy are none."""

    def pod(name: str, image: str, *, container: str = "smeagol-proxy") -> Pod:
        owner = OwnerReference(kind="ReplicaSet", name="web-5d8f", controller=True)
        labels = {"pod-template-hash": "5d8f"}
        metadata = Metadata(name=name, namespace="shop", labels=labels, owner_references=(owner,))
        return Pod(metadata=metadata, spec=PodSpec(init_containers=(Container(name=container, image=image),)))

    pods = [pod("a", "envoy:1"), pod("b", "envoy:1"), pod("c", "envoy:2"), pod("d", "x", container="other")]
    assert outdated_owners(pods, "envoy:2") == {ObjectRef("Deployment", "shop", "web"): 2}


@pytest.mark.parametrize(("kind", "name"), [("StatefulSet", "db; reboot"), ("Stateful Set", "db"), ("Job", "")])
def test_an_owner_that_no_object_can_be_is_none(kind: str, name: str) -> None:
    """Whoever makes a Pod may write it there, and others type what they are told."""
    metadata = Metadata(
        name="web", namespace="shop", owner_references=(OwnerReference(kind=kind, name=name, controller=True),)
    )
    assert owners_of([Pod(metadata=metadata)]) == {ObjectRef("Pod", "shop", "web"): 1}


def test_how_each_owner_gets_new_pods() -> None:
    """Only three kinds can be restarted, and a Pod that nobody owns is not made again by anybody."""
    owners = {ObjectRef(kind, "shop", "web"): 2 for kind in ("DaemonSet", "Job", "ReplicaSet")}
    assert list(renewals({**owners, ObjectRef("Pod", "shop", "web"): 1})) == [
        "DaemonSet shop/web (2 Pods): kubectl rollout restart -n shop daemonset/web",
        "Job shop/web (2 Pods): let it end, or delete it and make it again",
        "ReplicaSet shop/web (2 Pods): delete its Pods, and it makes new ones",
        "Pod shop/web: nobody makes it anew: delete it, and make it again",
    ]


def test_differences_are_told_by_field() -> None:
    """Items of lists go by their names."""
    before: Json = {"spec": {"replicas": 2, "containers": [{"name": "a", "image": "x:1"}, {"name": "b"}]}}
    after: Json = {"spec": {"replicas": 3, "containers": [{"name": "a", "image": "x:2"}], "paused": True}}
    assert list(differences(before, after)) == [
        "spec.replicas: 2 → 3",
        "spec.containers[a].image: x:1 → x:2",
        'spec.containers[b]: {"name": "b"} → -',
        "spec.paused: - → true",
    ]


@given(JSON, JSON)
def test_there_is_a_difference_if_and_only_if_they_differ(before: Json, after: Json) -> None:
    """Whatever they are."""
    assert bool(list(differences(before, after))) == (repr(before) != repr(after) and before != after)
