"""What containers are given, and when they are started again."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.infra.host import HostSettings, NodeNetwork
from smeagol.infra.host.backoff import Backoff
from smeagol.infra.host.desired import ContainerOnHost, EnvVar, PodSpecOnHost
from smeagol.infra.host.environment import (
    NoCommandError,
    UnknownFieldError,
    command_of,
    environment_of,
    etc_files,
    expand,
)
from smeagol.infra.host.logs import LogFile
from smeagol.refs import PodRef


def pod(*env: EnvVar) -> PodSpecOnHost:
    return PodSpecOnHost(
        ref=PodRef("shop", "web"),
        uid="u",
        ips=(ip_address("10.244.0.7"), ip_address("fd00::7")),
        hostname="web",
        containers=(ContainerOnHost(name="app", command=("run",), env=env),),
    )


def env_of(*env: EnvVar) -> dict[str, str]:
    made = pod(*env)
    return environment_of(made, made.containers[0], base={"PATH": "/bin"}, node_ips=[ip_address("10.244.0.1")])


class TestVariables:
    """`$(VAR)` in env, command and args (Kubernetes: define dependent environment variables)."""

    @pytest.mark.parametrize(
        ("text", "expanded"),
        [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y2"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$()", "$()"),
        ],
    )
    def test_expansion(self, text: str, expanded: str) -> None:
        assert expand(text, {"A": "1", "B": "2"}) == expanded

    def test_a_variable_sees_those_before_it(self) -> None:
        made = env_of(EnvVar("B", "$(A)"), EnvVar("A", "1"), EnvVar("C", "$(A)"))
        assert (made["B"], made["C"]) == ("$(A)", "1")

    def test_own_variables_win_over_the_machines(self) -> None:
        assert env_of()["PATH"] == "/bin"
        assert env_of(EnvVar("PATH", "/mine"))["PATH"] == "/mine"

    def test_a_field_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(UnknownFieldError, match=r"Pod shop/web, container app: env\[0\]: .*'status.phase'"):
            env_of(EnvVar("X", field_path="status.phase"))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("metadata.uid", "u"),
            ("status.podIP", "10.244.0.7"),
            ("status.podIPs", "10.244.0.7,fd00::7"),
            ("status.hostIP", "10.244.0.1"),
            ("metadata.labels['none']", ""),
        ],
    )
    def test_fields_of_the_pod(self, path: str, value: str) -> None:
        assert env_of(EnvVar("X", field_path=path))["X"] == value

    def test_an_image_alone_says_what_to_do(self) -> None:
        with pytest.raises(NoCommandError, match=r"image \(nginx\) but no command.*Give it a `command`"):
            command_of(pod(), ContainerOnHost(name="app", image="nginx"), {})


def test_names_resolve_as_in_a_cluster() -> None:
    """Search domains and ndots of Kubernetes' ClusterFirst; names come from nowhere else."""
    files = etc_files(
        pod(),
        name_servers=[ip_address("10.96.0.10")],
        cluster_domain="cluster.local",
        nsswitch="passwd: files systemd\nhosts: mdns4_minimal [NOTFOUND=return] resolve dns\n",
    )
    assert files["resolv.conf"] == (
        b"nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
    assert files["nsswitch.conf"] == b"passwd: files systemd\nhosts: files dns\n"
    assert b"10.244.0.7 web\nfd00::7 web\n" in files["hosts"]


class TestBackoff:
    """CrashLoopBackOff: at once, then 10 s, doubling up to 5 minutes."""

    def test_kubernetes_delays(self) -> None:
        backoff = Backoff()
        assert [backoff.after(0) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]

    def test_ten_minutes_of_running_start_it_anew(self) -> None:
        backoff = Backoff()
        delays = [backoff.after(ran) for ran in (0, 0, 0, 601, 0)]
        assert delays == [0, 10, 20, 0, 10]

    @given(st.lists(st.floats(0, 2000), max_size=30))
    def test_it_never_waits_longer_than_the_most(self, runs: list[float]) -> None:
        backoff = Backoff(base_seconds=1, most_seconds=60)
        assert all(0 <= backoff.after(ran) <= 60 for ran in runs)


class TestLogs:
    """Logs of containers are bounded."""

    @given(st.lists(st.binary(min_size=1, max_size=60), max_size=30))
    def test_the_newest_output_is_kept(self, parts: list[bytes]) -> None:
        """The file and the one before it are the end of all that was written, neither much over its limit."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shop_web" / "app.log"
            log = LogFile(path, 100)
            for part in parts:
                log.write(part)
            log.close()
            before = path.with_name("app.log.1")
            kept = (before.read_bytes() if before.exists() else b"") + path.read_bytes()
            assert b"".join(parts).endswith(kept)
            assert path.stat().st_size <= 100
            assert len(kept) >= min(100, sum(map(len, parts)) // 2)

    def test_a_file_that_cannot_be_opened_anew_costs_output_and_nothing_else(self, tmp_path: Path) -> None:
        """A descriptor that is closed twice may be another's by then."""
        folder = tmp_path / "logs"
        log = LogFile(folder / "app.log", 10)
        log.write(b"one\n")
        rmtree(folder)
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                log.write(b"0123456789\n")
        folder.mkdir()
        log.write(b"9876543210\n")
        log.close()
        assert (folder / "app.log").read_bytes() == b"9876543210\n"

    def test_a_restart_appends(self, tmp_path: Path) -> None:
        for text in (b"one\n", b"two\n"):
            log = LogFile(tmp_path / "app.log", 100)
            log.write(text)
            log.close()
        assert (tmp_path / "app.log").read_bytes() == b"one\ntwo\n"


def test_only_folders_that_a_pod_would_miss_are_kept() -> None:
    """Folders beneath /tmp and /run are given to Pods; /tmp itself would not be private then."""
    settings = HostSettings(
        node=NodeNetwork(ips=()),
        logs=Path("/x"),
        working_dir=Path("/tmp/a/b"),
        seen=(Path("/tmp"), Path("/usr"), Path("/run/c")),
    )
    assert settings.kept == ("/run/c", "/tmp/a/b")
