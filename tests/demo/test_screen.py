"""The picture fits an ordinary terminal, and plain lines end with what a script looks for."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from smeagol.control import Edge, MeshInfo, Pod, Status
from smeagol.demo.judge import Verdict, shares
from smeagol.demo.load import Slot, total
from smeagol.demo.screen import Caller, Model, Stage, StepView, callers, screen, step_line, summary
from smeagol.demo.script import ROLLOUT, Split, canary

NAMES = ("client.foobar.example", "spiffe://cluster.local/ns/default/sa/default")
SPLIT = ROLLOUT[4]
COUNTS = total(
    [
        Slot(
            time=0,
            seconds=2.5,
            sent=1000,
            failed=0,
            versions={"v1": 661, "v2": 339},
            identities={",".join(NAMES): 1000},
            latency=((0.001, 100), (0.002, 700), (0.003, 150), (0.01, 50)),
        )
    ]
)


def caller(version: str) -> Caller:
    service = f"foobar-{version}"
    return Caller(
        client="client",
        server=service,
        mutual_tls=True,
        requests=4000,
        client_names=NAMES,
        server_names=("foobar", service, "foobar.default", f"{service}.default"),
    )


MODEL = Model(
    elapsed_seconds=83.4,
    note="measuring: 1,000 of 3,000 requests",
    steps=tuple(
        StepView(step=step, stage=Stage.HELD if n < 4 else Stage.MEASURING if n == 4 else Stage.AHEAD, requests=1000)
        for n, step in enumerate(ROLLOUT)
    ),
    measured=shares(SPLIT.desired, COUNTS),
    recent=COUNTS,
    total=COUNTS,
    rates=(400.0, 200.0, 400.0),
    callers=(caller("v1"), caller("v2")),
    manifest=("canary.yaml", canary(Split((("v1", "1"), ("v2", "500m"))))),
)

PICTURE = """\
 smeagol demo  the documented rollout, on real Envoys, under load         01:23
╭─ rollout ────────────────────────────────────╮╭─ load ───────────────────────╮
│ ✓ foobar-v1 serves, no Canary yet      1,000 ││ requests    1,000            │
│ ✓ Canary v1=1, v2=0m; no v2 there yet  1,000 ││ failed          0            │
│ ✓ Deployment, Service v2 created       1,000 ││ per second    400            │
│ ✓ foobar-v2 tried directly             1,000 ││ p50        1.6 ms            │
│ ▸ v2=500m: two to one                  1,000 ││ p95        3.0 ms            │
│ · v2 alone                                   ││ p99        8.6 ms            │
│ · Deployment, Service v1 deleted             ││ █▅█                          │
│ · Canary deleted                             ││                              │
╰──────────────────────────────────────────────╯╰──────────────────────────────╯
╭─ share of requests to foobar ────────────────────────────────────────────────╮
│ v1 desired  66.7% measured  66.1% ███████████████████████████│─────────────  │
│ v2 desired  33.3% measured  33.9% ██████████████│──────────────────────────  │
╰──────────────────────────────────────────────────────────────────────────────╯
╭─ who speaks to whom ─────────────────────────────────────────────────────────╮
│ client → foobar-v1  mutual TLS  4,000 requests                               │
│   as client.foobar.example, spiffe://cluster.local/ns/default/sa/default     │
│   to foobar, foobar-v1 and 2 more                                            │
│ client → foobar-v2  mutual TLS  4,000 requests                               │
│   as client.foobar.example, spiffe://cluster.local/ns/default/sa/default     │
│   to foobar, foobar-v2 and 2 more                                            │
╰──────────────────────────────────────────────────────────────────────────────╯
 measuring: 1,000 of 3,000 requests
"""


def drawn(model: Model, width: int, height: int) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None, legacy_windows=False)
    console.print(screen(model, width=width, height=height))
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


class TestScreen:
    def test_fills_a_terminal_of_80_by_24(self) -> None:
        assert drawn(MODEL, 80, 24) == PICTURE

    def test_shows_the_manifest_that_was_just_written_where_there_is_room(self) -> None:
        picture = drawn(MODEL, 120, 40)
        assert len(picture.splitlines()) == 40
        assert max(map(len, picture.splitlines())) == 120
        assert "─ canary.yaml ─" in picture
        assert 'weight: "500m"' in picture

    def test_has_something_to_show_before_anything_has_happened(self) -> None:
        nothing = total([])
        empty = replace(
            MODEL,
            measured=shares(SPLIT.desired, nothing),
            recent=nothing,
            total=nothing,
            rates=(),
            callers=(),
            manifest=None,
        )
        assert "nobody yet" in drawn(empty, 80, 24)
        assert "measured      -" in drawn(empty, 80, 24)


class TestCallers:
    def test_join_who_calls_with_the_names_of_both(self) -> None:
        """Server names are the Services' names; addresses say nothing to a reader."""
        edge = Edge(
            client="default/client",
            service="default/foobar",
            backend="default/foobar-v1",
            mutual_tls=True,
            client_names=NAMES,
            requests=7,
        )
        pod = Pod(
            namespace="default",
            name="foobar-v1-x",
            server_names=("10.1.2.3", "fd00::1", "foobar-v1.default", "foobar.default", "foobar"),
        )
        found = callers((edge,), Status(mesh=MeshInfo(name="demo"), pods=(pod,)))
        assert found == (
            Caller(
                client="client",
                server="foobar-v1",
                mutual_tls=True,
                requests=7,
                client_names=NAMES,
                server_names=("foobar", "foobar.default", "foobar-v1.default"),
            ),
        )

    def test_leave_out_who_has_sent_nothing(self) -> None:
        edge = Edge(client="default/client", service="default/foobar")
        assert callers((edge,), Status(mesh=MeshInfo(name="demo"))) == ()


class TestPlain:
    GOOD = tuple(
        Verdict(step=step, passing=total([]), counts=COUNTS, shares=shares(step.desired, COUNTS), complaints=())
        for step in ROLLOUT
    )

    def test_the_last_line_states_requests_failures_and_steps(self) -> None:
        assert summary(MODEL, self.GOOD)[-1] == "demo: 1,000 requests, 0 failed, 8 steps held"

    def test_it_fits_a_terminal_of_80_columns(self) -> None:
        assert max(map(len, summary(MODEL, self.GOOD))) <= 80

    def test_a_step_that_did_not_hold_is_explained_before_the_last_line(self) -> None:
        bad = replace(self.GOOD[4], complaints=("v1 answered 1 of 2, expected 2 to 2",))
        lines = summary(MODEL, (*self.GOOD[:4], bad), logs="/tmp/demo-x")
        assert lines[-3:] == (
            "step 5 did not hold: v1 answered 1 of 2, expected 2 to 2",
            "what everybody wrote down is in /tmp/demo-x",
            "demo: 1,000 requests, 0 failed, 4 of 8 steps held",
        )

    def test_a_step_is_one_line(self) -> None:
        line = step_line(5, self.GOOD[4])
        assert line == "5 v2=500m: two to one: held; v1 66.1% v2 33.9% of 1,000, 0 failed, p99 8.6 ms"
