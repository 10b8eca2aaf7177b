"""What is installed: each object as the settings say, and none that Kubernetes' own rules for safe Pods forbid.

That an API server takes them all, unknown fields refused, is proved in `tests/e2e/test_install.py`.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperOption

from docs.cli_reference import commands
from smeagol.api import parse, read_text
from smeagol.api.decode import Refused
from smeagol.api.documents import Json, write_text
from smeagol.cli.controller import controller
from smeagol.cli.install import IMAGE
from smeagol.install import InstallSettings, Manifest, manifests
from smeagol.install.manifests import (
    CONTROLLER_NAME,
    DISCOVERY_PORT,
    DISCOVERY_SERVICE,
    PEERS_PORT,
    SELECTOR,
    WEBHOOK_PORT,
    WEBHOOK_SERVICE,
)
from smeagol.install.parts import HEALTH_PORT
from smeagol.install.resources import INSTALLED, OWN_LABELS
from smeagol.install.settings import SettingError, check_one_authority, proxy_option
from smeagol.plan.proxy_size import CURES, ProxySize
from smeagol.providers.envoy import provider
from smeagol.runtime.controller import ControllerSettings
from smeagol.webhook import WebhookPlace

SETTINGS = InstallSettings(version="1.2.3", image="registry.example/smeagol:1.2.3")


def at(value: Json, *path: str | int) -> Json:
    """What stands there in an object."""
    for step in path:
        if isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            assert isinstance(value, dict), path
            assert isinstance(step, str), path
            value = value[step]
    return value


def the(kind: str, settings: InstallSettings = SETTINGS, *, name: str = "") -> Json:
    """The one object of that kind, and of that name if one is given."""
    (found,) = [
        manifest.to_json()
        for manifest in manifests(settings)
        if manifest.resource.kind == kind and name in ("", manifest.name)
    ]
    return found


def controller_of(settings: InstallSettings = SETTINGS) -> Json:
    return at(the("Deployment", settings), "spec", "template", "spec", "containers", 0)


class TestTheWhole:
    """What holds for all of them."""

    def test_each_has_the_marks_by_which_it_is_found_again(self) -> None:
        """Removal looks for nothing else."""
        for manifest in manifests(SETTINGS):
            assert manifest.labels.items() >= OWN_LABELS.items(), manifest.ref

    def test_they_come_in_the_order_in_which_they_need_each_other(self) -> None:
        """A namespace before what is in it, definitions before objects of their kinds, rights before who uses them."""
        order = [INSTALLED.index(manifest.resource) for manifest in manifests(SETTINGS)]
        assert order == sorted(order)
        kinds = [manifest.resource.kind for manifest in manifests(SETTINGS)]
        assert kinds.index("CustomResourceDefinition") < kinds.index("ProviderClass")
        assert kinds.index("RoleBinding") < kinds.index("Deployment")
        assert kinds[0] == "Namespace"
        assert kinds[-1] == "Deployment"

    def test_no_two_have_one_name(self) -> None:
        """Each is an object of its own."""
        refs = [manifest.ref for manifest in manifests(SETTINGS)]
        assert len(set(refs)) == len(refs)

    def test_the_same_settings_give_the_same_bytes(self) -> None:
        """So that a repository of manifests shows only real changes."""
        assert text(manifests(SETTINGS)) == text(manifests(SETTINGS))

    def test_the_text_is_the_objects(self) -> None:
        """What `-o yaml` prints is what is applied."""
        assert list(yaml.safe_load_all(text(manifests(SETTINGS)))) == [m.to_json() for m in manifests(SETTINGS)]

    @given(namespace=st.from_regex(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True))
    def test_all_live_in_the_namespace_that_is_named(self, namespace: str) -> None:
        """Objects, and who they point at."""
        if namespace == "default" or namespace.startswith("kube-"):
            return
        settings = InstallSettings(version="1", image="i", namespace=namespace)
        for manifest in manifests(settings):
            assert manifest.namespace == (namespace if manifest.resource.namespaced else ""), manifest.ref
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            assert at(the(kind, settings), "subjects", 0, "namespace") == namespace


def text(objects: tuple[Manifest, ...]) -> str:
    return write_text(*(manifest.to_json() for manifest in objects))


class TestTheProviderClass:
    """Which objects are served."""

    def test_it_names_the_provider_that_the_control_plane_runs(self) -> None:
        """Else nobody would take it on."""
        assert provider.controller_name == CONTROLLER_NAME

    @pytest.mark.parametrize("default", [True, False])
    def test_it_is_accepted_and_is_the_default_only_if_it_may_be(self, default: bool) -> None:
        """By the schema and rules of its kind."""
        (manifest,) = (m for m in manifests(SETTINGS, default_class=default) if m.resource.kind == "ProviderClass")
        (document,) = read_text(write_text(manifest.to_json())).documents
        parsed = parse(document)
        assert not isinstance(parsed, Refused)
        assert getattr(parsed, "is_default", None) is default


class TestTheControlPlane:
    """Pods that may do little."""

    def test_it_is_within_the_restricted_pod_security_standard(self) -> None:
        """Kubernetes, Pod Security Standards, Restricted; the namespace enforces it."""
        pod = at(the("Deployment"), "spec", "template", "spec")
        assert at(pod, "securityContext", "runAsNonRoot") is True
        assert at(pod, "securityContext", "seccompProfile") == {"type": "RuntimeDefault"}
        container = at(pod, "containers", 0, "securityContext")
        assert container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert isinstance(pod, dict)
        assert pod.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "volumes"})
        assert at(the("Namespace"), "metadata", "labels", "pod-security.kubernetes.io/enforce") == "restricted"

    def test_two_replicas_are_spread_and_leave_one_at_a_time(self) -> None:
        """So that no node, and no drain, takes both."""
        assert at(the("Deployment"), "spec", "replicas") == 2
        assert at(the("PodDisruptionBudget"), "spec", "maxUnavailable") == 1
        pod = at(the("Deployment"), "spec", "template", "spec")
        spread = at(pod, "topologySpreadConstraints")
        assert isinstance(spread, list)
        assert [at(each, "topologyKey") for each in spread] == ["kubernetes.io/hostname"]  # see `_spread`
        zones = at(pod, "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", 0)
        assert at(zones, "podAffinityTerm", "topologyKey") == "topology.kubernetes.io/zone"

    def test_everybody_means_the_same_pods(self) -> None:
        """Deployment, Service, policy and budget select by the labels that the Pods have."""
        labels = at(the("Deployment"), "spec", "template", "metadata", "labels")
        assert isinstance(labels, dict)
        assert labels.items() >= SELECTOR.items()
        assert at(the("Deployment"), "spec", "selector", "matchLabels") == SELECTOR
        for name in (DISCOVERY_SERVICE, WEBHOOK_SERVICE):
            assert at(the("Service", name=name), "spec", "selector") == SELECTOR
        assert at(the("NetworkPolicy"), "spec", "podSelector", "matchLabels") == SELECTOR
        assert at(the("PodDisruptionBudget"), "spec", "selector", "matchLabels") == SELECTOR

    def test_the_selector_does_not_change_with_the_version(self) -> None:
        """A Deployment's selector cannot be changed, so an upgrade must not want to."""
        assert not any("version" in key for key in SELECTOR)

    def test_only_the_ports_that_are_served_are_open(self) -> None:
        """NetworkPolicy, container and Services name the same, and it is where the control plane listens; replicas are
        reached by replicas only.
        """
        served = {"discovery": DISCOVERY_PORT, "webhook": WEBHOOK_PORT, "peers": PEERS_PORT, "health": HEALTH_PORT}
        policy = the("NetworkPolicy")
        everybody = [{"port": port, "protocol": "TCP"} for name, port in served.items() if name != "peers"]
        assert at(policy, "spec", "ingress") == [
            {"ports": everybody},
            {
                "from": [{"podSelector": {"matchLabels": dict(SELECTOR)}}],
                "ports": [{"port": PEERS_PORT, "protocol": "TCP"}],
            },
        ]
        assert at(policy, "spec", "policyTypes") == ["Ingress"]
        for index, (name, port) in enumerate(served.items()):
            assert at(controller_of(), "ports", index, "name") == name
            assert at(controller_of(), "ports", index, "containerPort") == port
            assert f"[::]:{port}" in arguments(SETTINGS)
        for service, port_name in ((DISCOVERY_SERVICE, "discovery"), (WEBHOOK_SERVICE, "webhook")):
            assert at(the("Service", name=service), "spec", "ports", 0, "targetPort") == port_name
        for index, port in enumerate((DISCOVERY_PORT, PEERS_PORT)):
            assert at(the("Service", name=DISCOVERY_SERVICE), "spec", "ports", index, "port") == port

    def test_probes_ask_whether_it_is_well_or_ready(self) -> None:
        """An API server that is away makes a replica neither unwell nor, once it has seen all, unready."""
        paths = {probe: at(controller_of(), f"{probe}Probe", "httpGet", "path") for probe in ("liveness", "readiness")}
        assert paths == {"liveness": "/healthz", "readiness": "/readyz"}

    def test_no_two_of_its_servers_want_one_port(self) -> None:
        """Also those of loopback alone, which no Service and no policy names."""
        given = arguments(SETTINGS)
        ports = [word.rpartition(":")[2] for word in given if word.startswith("[::]:")]
        ports.append(given[given.index("--control-port") + 1])
        assert len(ports) == len(set(ports))

    def test_who_dials_finds_the_name_that_the_certificate_has(self) -> None:
        """The certificates are issued for the Services by their names: proxies dial one, the API server the other."""
        assert ControllerSettings(identity="a").discovery_service == DISCOVERY_SERVICE
        place = WebhookPlace()
        service = the("Service", name=place.service)
        assert (at(service, "metadata", "name"), at(service, "spec", "ports", 0, "port")) == (
            WEBHOOK_SERVICE,
            place.port,
        )

    def test_it_never_gets_a_proxy_itself(self) -> None:
        """Nor, by the namespace's label, does anything beside it."""
        labels = at(the("Deployment"), "spec", "template", "metadata", "labels")
        assert at(labels, "smi-spec.io/inject") == "disabled"
        assert at(the("Namespace"), "metadata", "labels", "smi-spec.io/inject") == "disabled"

    def test_it_is_started_with_options_that_there_are(self) -> None:
        """Every option of the container's command line is one of `smeagol controller`."""
        import typer

        app = typer.Typer()
        app.command()(controller)
        known = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
        settings = InstallSettings(
            version="1",
            image="i",
            pod_cidrs=("10.1.0.0/16", "fd00::/64"),
            trust_domain="mesh.example",
            ca_secret="mesh-ca",
            ca_signer="example.com/mesh",
            ca_roots="mesh-roots",
        )
        words = arguments(settings)
        assert words[0] == "controller"
        assert {word for word in words if word.startswith("--")} <= known
        assert words.count("--pod-cidr") == 2
        assert words[words.index("--trust-domain") + 1] == "mesh.example"
        assert words[words.index("--ca-secret") + 1] == "mesh-ca"
        assert words[words.index("--ca-signer") + 1] == "example.com/mesh"
        assert words[words.index("--ca-roots") + 1] == "mesh-roots"

    def test_the_token_is_given_to_the_pod_alone(self) -> None:
        """Not to everything that is started under the same account."""
        assert at(the("ServiceAccount"), "automountServiceAccountToken") is False
        assert at(the("Deployment"), "spec", "template", "spec", "automountServiceAccountToken") is True

    def test_it_knows_its_own_name(self) -> None:
        """For the election."""
        assert at(controller_of(), "env", 0) == {
            "name": "POD_NAME",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }


def arguments(settings: InstallSettings) -> list[str]:
    words = at(controller_of(settings), "args")
    assert isinstance(words, list)
    return [str(word) for word in words]


class TestSettings:
    """What is refused before anything is sent."""

    def test_the_defaults_are_valid(self) -> None:
        assert InstallSettings(version="1", image=IMAGE).replicas == 2

    @pytest.mark.parametrize("namespace", ["", "Mesh", "a.b", "-a", "a" * 64, "default", "kube-system"])
    def test_namespaces(self, namespace: str) -> None:
        """No DNS label, or Kubernetes' own."""
        with pytest.raises(SettingError, match="--namespace"):
            InstallSettings(version="1", image="i", namespace=namespace)

    @pytest.mark.parametrize("image", ["", "a b", "a\n"])
    def test_images(self, image: str) -> None:
        with pytest.raises(SettingError, match="--image"):
            InstallSettings(version="1", image=image)
        with pytest.raises(SettingError, match="--proxy-image"):
            InstallSettings(version="1", image="i", proxy_image=image)

    def test_replicas(self) -> None:
        with pytest.raises(SettingError, match="--replicas"):
            InstallSettings(version="1", image="i", replicas=0)

    @pytest.mark.parametrize("secret", ["Mesh", "a/b", "-a", "smeagol-authority"])
    def test_secrets_for_an_intermediate(self, secret: str) -> None:
        """No name of a Secret, or the one with what is kept of it."""
        with pytest.raises(SettingError, match="--ca-secret"):
            InstallSettings(version="1", image="i", ca_secret=secret)

    @pytest.mark.parametrize(
        ("signer", "roots", "cause"),
        [
            ("mesh", "r", "not the name of a signer"),
            ("example/ca", "r", "not the name of a signer"),
            ("example.com/", "r", "not the name of a signer"),
            ("example.com/a b", "r", "not the name of a signer"),
            ("kubernetes.io/legacy-unknown", "r", "never sign a certificate authority"),
            ("example.com/ca", "", "needs a ConfigMap"),
            ("example.com/ca", "No", "needs a ConfigMap"),
            ("", "r", "needs a ConfigMap"),
        ],
    )
    def test_signers_of_an_intermediate(self, signer: str, roots: str, cause: str) -> None:
        """No name of one, or one that the Kubernetes documentation says never sets the CA bit; or without roots."""
        with pytest.raises(SettingError, match=cause):
            InstallSettings(version="1", image="i", ca_signer=signer, ca_roots=roots)

    def test_signers_as_cert_manager_calls_them(self) -> None:
        for signer in ("clusterissuers.cert-manager.io/our-issuer", "issuers.cert-manager.io/sandbox.our-issuer"):
            InstallSettings(version="1", image="i", ca_signer=signer, ca_roots="r")

    def test_an_intermediate_comes_from_one_place(self) -> None:
        check_one_authority("mesh-ca", "")
        check_one_authority("", "example.com/ca")
        with pytest.raises(SettingError, match="--ca-secret, --ca-signer"):
            check_one_authority("mesh-ca", "example.com/ca")

    @pytest.mark.parametrize(
        ("chosen", "told"),
        [
            ({"cpu_limit": "much"}, "--proxy-cpu-limit: 'much' is not a quantity above zero. Write it as for any"),
            ({"memory_request": "0"}, "--proxy-memory-request: '0' is not a quantity above zero. Write it as for any"),
            ({"concurrency": "2.5"}, "--proxy-concurrency: '2.5' is not a number of threads. Write a whole number"),
            ({"cpu_request": "3"}, "--proxy-cpu-request, --proxy-cpu-limit: a proxy would ask for more cpu (3) than"),
        ],
    )
    def test_sizes_of_proxies(self, chosen: dict[str, str], told: str) -> None:
        """In the words that a bad annotation of a Pod is refused with; and no more asked for than may be used."""
        with pytest.raises(SettingError, match=re.escape(told)):
            InstallSettings(version="1", image="i", **{f"proxy_{field}": text for field, text in chosen.items()})  # type: ignore[arg-type]

    @pytest.mark.parametrize("command", ["install", "controller"])
    def test_the_help_tells_how_big_proxies_are_by_default(self, command: str) -> None:
        options = {word: each for each in commands()[f"smeagol {command}"].params for word in each.opts}
        for field in CURES:
            option = options[proxy_option(field)]
            assert isinstance(option, TyperOption)
            assert (option.help or "").endswith(f"[default: {getattr(ProxySize(), field)}]")

    @pytest.mark.parametrize("cidr", ["10.0.0.0/33", "10.0.0.1/8", "pods", ""])
    def test_ranges_that_are_none(self, cidr: str) -> None:
        with pytest.raises(SettingError, match="--pod-cidr"):
            InstallSettings(version="1", image="i", pod_cidrs=(cidr,))

    @given(st.one_of(st.ip_addresses(v=4).map(lambda a: IPv4Network(a)), st.ip_addresses(v=6).map(IPv6Network)))
    def test_ranges_of_both_families(self, network: IPv4Network | IPv6Network) -> None:
        assert InstallSettings(version="1", image="i", pod_cidrs=(str(network),)).pod_cidrs == (str(network),)
