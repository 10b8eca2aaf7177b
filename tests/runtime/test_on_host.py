"""What the host runs for a Pod, and where a Service leads for clients without a proxy."""

from __future__ import annotations

import msgspec
import pytest

from smeagol.infra.host.desired import Endpoint, Exec, HttpGet, Sleep, TcpSocket
from smeagol.infra.host.status import ContainerStatus, Phase, PodStatus, Waiting
from smeagol.objects import EndpointSlice, Pod, Service
from smeagol.refs import PodRef
from smeagol.runtime.on_host import NoSuchValueError, pod_on_host, pod_status, proxy_container, service_on_host
from smeagol.sources.workloads import with_proxy

POD = msgspec.convert(
    {
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "app",
                    "command": ["serve"],
                    "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"port": "http", "path": "/healthz"}, "periodSeconds": 1},
                    "livenessProbe": {"tcpSocket": {"port": 9}},
                    "startupProbe": {"exec": {"command": ["true"]}},
                }
            ],
        },
        "status": {"podIPs": [{"ip": "10.244.0.10"}, {"ip": "fd00::10"}]},
    },
    Pod,
)


def test_a_pod_without_proxy_is_left_alone() -> None:
    spec = pod_on_host(POD, None)
    assert (spec.redirect, spec.sidecar) == (False, None)
    assert [str(ip) for ip in spec.ips] == ["10.244.0.10", "fd00::10"]


def test_a_long_name_makes_a_hostname_that_the_kernel_takes() -> None:
    """Kubelet: a hostname has at most 63 characters and ends with a letter or digit."""
    named = msgspec.structs.replace(POD, metadata=msgspec.structs.replace(POD.metadata, name="a" * 62 + "-bcd"))
    assert pod_on_host(named, None).hostname == "a" * 62


def test_what_keeps_a_pod_from_being_made_is_said() -> None:
    """Its containers only wait, and would say no more than that."""
    waiting = ContainerStatus(name="app", state=Waiting("ContainerCreating"))
    status = PodStatus(
        ref=PodRef("shop", "web"),
        phase=Phase.PENDING,
        ready=False,
        init_containers=(),
        containers=(waiting,),
        message="no namespace",
    )
    (said,) = pod_status(status).container_statuses
    assert said.message == "no namespace"


def test_the_proxy_takes_the_place_of_its_container() -> None:
    """Traffic is redirected exactly where there is a proxy to take it."""
    proxy = proxy_container(["envoy"], {"token": b"secret"})
    spec = pod_on_host(with_proxy(POD), proxy)
    assert (spec.redirect, spec.sidecar, spec.init_containers) == (True, proxy, ())
    assert "secret" not in repr(spec)


def test_probes_come_over_with_named_ports_resolved() -> None:
    (app,) = pod_on_host(POD, None).containers
    assert app.readiness is not None
    assert (app.readiness.action, app.readiness.period_seconds) == (HttpGet(port=8080, path="/healthz"), 1)
    assert app.liveness is not None
    assert app.liveness.action == TcpSocket(port=9)
    assert app.startup is not None
    assert app.startup.action == Exec(("true",))
    assert app.env[0].field_path == "metadata.name"


def test_a_service_leads_to_its_ready_endpoints() -> None:
    """As kube-proxy: what is not ready gets nothing; a slice's own port is where the Pod listens."""
    service = msgspec.convert(
        {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80, "name": "http"}]},
        },
        Service,
    )
    part = msgspec.convert(
        {
            "metadata": {"name": "web-x", "namespace": "shop"},
            "ports": [{"name": "http", "port": 8080}, {"name": "other", "port": 1}],
            "endpoints": [
                {"addresses": ["10.244.0.11"], "conditions": {"ready": False}},
                {"addresses": ["10.244.0.10"], "conditions": {"ready": True}},
                {"addresses": ["10.244.0.12"]},
            ],
        },
        EndpointSlice,
    )
    (port,) = service_on_host(service, [part]).ports
    assert [(str(e.ip), e.port) for e in port.endpoints] == [("10.244.0.10", 8080), ("10.244.0.12", 8080)]
    assert isinstance(port.endpoints[0], Endpoint)


@pytest.mark.parametrize(
    ("cluster_ip", "staying", "leads_to"),
    [
        ("10.96.0.5", True, ["10.244.0.10"]),
        ("10.96.0.5", False, ["10.244.0.11"]),
        ("None", False, []),
    ],
    ids=["another is ready", "none is", "names only"],
)
def test_a_service_leads_to_who_serves_on_its_way_out(cluster_ip: str, staying: bool, leads_to: list[str]) -> None:
    """Where none is ready, as kube-proxy; DNS names nobody who leaves."""
    spec = {"clusterIP": cluster_ip, "ports": [{"port": 80}]}
    service = msgspec.convert({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}, Service)
    conditions = (
        {"ready": staying},
        {"ready": False, "serving": True, "terminating": True},
        {"ready": False, "serving": False, "terminating": True},
    )
    part = msgspec.convert(
        {
            "metadata": {"name": "web-x", "namespace": "shop"},
            "ports": [{"port": 8080}],
            "endpoints": [
                {"addresses": [f"10.244.0.{10 + number}"], "conditions": each} for number, each in enumerate(conditions)
            ],
        },
        EndpointSlice,
    )
    (port,) = service_on_host(service, [part]).ports
    assert [str(e.ip) for e in port.endpoints] == leads_to


def test_what_is_done_before_the_end_comes_over() -> None:
    """core/v1 Lifecycle, preStop: exec, httpGet or sleep."""
    container = {"name": "app", "command": ["serve"], "lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}
    pod = msgspec.convert({"metadata": {"name": "a"}, "spec": {"containers": [container]}}, Pod)
    assert pod_on_host(pod, None).containers[0].pre_stop == Sleep(3)


def test_a_variable_without_a_value_here_is_refused() -> None:
    """A program that silently finds it empty may do harm."""
    variable = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    pod = msgspec.convert(
        {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "env": [variable]}]}}, Pod
    )
    with pytest.raises(NoSuchValueError, match="'PASSWORD' of container 'app'"):
        pod_on_host(pod, None)
