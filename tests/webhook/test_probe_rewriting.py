"""The kubelet's questions to an application, put to its proxy instead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from smeagol.plan import AppProbe, ProbeKind
from smeagol.webhook.probes import rewritten
from webhook.pods import container, containers_of, pod, pods, result

READY = "/probes/app/readiness"


def rewrite(probe: dict[str, Any], *, passed: tuple[int, ...] = (), **fields: Any) -> tuple[dict[str, Any], AppProbe]:
    """The readiness probe of a container after rewriting, and the one question of the proxy that it became."""
    done = rewritten([container(readinessProbe=probe, **fields)], passed=passed, taken=frozenset())
    (question,) = done.probes
    return done.containers[0]["readinessProbe"], question


def untouched(probe: dict[str, Any], *, passed: tuple[int, ...] = (), **fields: Any) -> bool:
    containers = [container(readinessProbe=probe, **fields)]
    done = rewritten(containers, passed=passed, taken=frozenset())
    return done.containers == containers and not done.probes and not done.originals


class TestHTTP:
    def test_path_and_port_become_the_proxys(self) -> None:
        """Times, thresholds and headers are the user's as before."""
        headers = [{"name": "Host", "value": "example.com"}]
        probe = {"httpGet": {"path": "/healthz", "port": 8080, "httpHeaders": headers}, "periodSeconds": 3}
        after, question = rewrite(probe)
        get = {"path": READY, "port": 15021, "scheme": "HTTP", "httpHeaders": headers}
        assert after == {"httpGet": get, "periodSeconds": 3}
        assert question == AppProbe(kind=ProbeKind.HTTP, port=8080, path=READY, target="/healthz")

    def test_https_is_spoken_between_proxy_and_application(self) -> None:
        after, question = rewrite({"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}})
        assert after["httpGet"]["scheme"] == "HTTP"
        assert question.kind is ProbeKind.HTTPS

    @pytest.mark.parametrize(
        ("path", "target"),
        [
            (None, "/"),
            ("", "/"),
            ("healthz", "/healthz"),
            ("/a b", "/a%20b"),
            ("/x?full=1&y=%20", "/x?full=1&y=%20"),
            ("/x#y", "/x"),
            ("/ü", "/%C3%BC"),
            ("/<POD_IP>", "/%3CPOD_IP%3E"),
        ],
    )
    def test_the_path_is_what_the_kubelet_would_ask_for(self, path: str | None, target: str) -> None:
        _, question = rewrite({"httpGet": {"port": 80, **({} if path is None else {"path": path})}})
        assert question.target == target

    def test_another_host_is_not_the_pod(self) -> None:
        """The kubelet dials it from the node, so the proxy has no part in it."""
        assert untouched({"httpGet": {"port": 80, "host": "example.com"}})


class TestPorts:
    def test_a_named_port_is_one_of_the_same_container(self) -> None:
        _, question = rewrite({"httpGet": {"port": "web"}}, ports=[{"name": "web", "containerPort": 8080}])
        assert question.port == 8080

    def test_a_number_in_quotes_is_a_number(self) -> None:
        assert rewrite({"httpGet": {"port": "8080"}})[1].port == 8080

    @pytest.mark.parametrize("port", ["web", 0, -1, 65536, None])
    def test_what_is_no_port_stays_as_it_is(self, port: object) -> None:
        """The API server or the kubelet says what is wrong with it."""
        assert untouched({"httpGet": {"port": port}})

    @pytest.mark.parametrize("action", [{"httpGet": {"port": 9090}}, {"grpc": {"port": 9090}}])
    def test_a_port_that_passes_by_the_proxy_is_asked_as_before(self, action: dict[str, Any]) -> None:
        assert untouched(action, passed=(9090,))


class TestOthers:
    def test_tcp_is_asked_by_http(self) -> None:
        """To connect to the proxy would always succeed."""
        after, question = rewrite({"tcpSocket": {"port": 6379}, "periodSeconds": 4})
        assert after == {"httpGet": {"path": READY, "port": 15021, "scheme": "HTTP"}, "periodSeconds": 4}
        assert question == AppProbe(kind=ProbeKind.TCP, port=6379, path=READY, period_seconds=4)

    def test_grpc_keeps_its_service_and_gets_a_port_of_the_proxy(self) -> None:
        after, question = rewrite({"grpc": {"port": 9000, "service": "cart"}})
        assert after == {"grpc": {"port": 15030, "service": "cart"}}
        assert question == AppProbe(kind=ProbeKind.GRPC, port=9000, asked_at=15030)

    def test_a_command_runs_in_the_container_as_before(self) -> None:
        assert untouched({"exec": {"command": ["true"]}})

    def test_each_grpc_port_has_its_own(self) -> None:
        """Requests of two ports look alike; those of one port share, and what a container declares is left alone."""
        containers = [
            container(readinessProbe={"grpc": {"port": 9000}}, livenessProbe={"grpc": {"port": 9000, "service": "x"}}),
            container("b", readinessProbe={"grpc": {"port": 9001}}),
        ]
        done = rewritten(containers, passed=(), taken=frozenset({15030}))
        assert [(probe.port, probe.asked_at) for probe in done.probes] == [(9000, 15031), (9001, 15032)]
        assert done.containers[0]["livenessProbe"]["grpc"] == {"port": 15031, "service": "x"}

    def test_their_ports_pass_the_redirect_rules(self) -> None:
        after = result(
            pod(
                container(readinessProbe={"grpc": {"port": 9000}}),
                annotations={"smeagol.dev/exclude-inbound-ports": "22"},
            )
        )
        assert after["spec"]["initContainers"][0]["args"] == ["--uid", "1337", "--inbound-passed", "22,15030"]

    def test_http_hooks_are_asked_through_the_proxy_too(self) -> None:
        hooks = {
            "postStart": {"httpGet": {"path": "/warm", "port": 80}},
            "preStop": {"httpGet": {"path": "/drain", "port": 80}},
        }
        done = rewritten([container(lifecycle=hooks)], passed=(), taken=frozenset())
        assert [(probe.path, probe.target) for probe in done.probes] == [
            ("/probes/app/post-start", "/warm"),
            ("/probes/app/pre-stop", "/drain"),
        ]

    @pytest.mark.parametrize(
        "hook", [{"sleep": {"seconds": 5}}, {"exec": {"command": ["x"]}}, {"tcpSocket": {"port": 1}}]
    )
    def test_other_hooks_stay(self, hook: dict[str, Any]) -> None:
        containers = [container(lifecycle={"preStop": hook, "stopSignal": "SIGUSR1"})]
        assert rewritten(containers, passed=(), taken=frozenset()).containers == containers

    def test_sidecars_of_the_user_have_probes_as_well(self) -> None:
        side = container("logs", restartPolicy="Always", startupProbe={"httpGet": {"port": 24224}})
        after = result(pod(initContainers=[side]))
        assert after["spec"]["initContainers"][2]["startupProbe"]["httpGet"]["path"] == "/probes/logs/startup"


@given(pods)
def test_every_question_has_one_answer(before: dict[str, Any]) -> None:
    """In any Pod, what is asked of the proxy is asked at a path or port that stands for one question only."""
    containers = containers_of(before)
    done = rewritten(containers, passed=(), taken=frozenset())
    places = [(probe.asked_at, probe.path) for probe in done.probes]
    assert len(set(places)) == len(places)
    assert [one["name"] for one in done.containers] == [one["name"] for one in containers]
