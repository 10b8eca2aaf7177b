"""What a case does: apply manifests, call from inside Pods, look at statuses, and say what it expects.

Expectations of traffic are given time to come true (`Limits.effect`), and must then hold several times in a row. What
is not met raises UnmetError with what was expected and what was seen.

On a platform without a data plane an expectation of traffic is noted as not run, and the case goes on to what statuses,
Events and refusals tell; where it needs an answer to go on, it ends (NotHereError).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

import yaml

from smeagol.conformance.call import Call, Result, Tls, made
from smeagol.conformance.chance import complaints
from smeagol.conformance.driver import Driver, Event, Made, Manifest, Output, reference
from smeagol.conformance.limits import Limits
from smeagol.conformance.model import ConformanceError, NoImageError, NotHereError, UnmetError

__all__ = ["Bench", "Condition", "Running"]

T = TypeVar("T")
CALL = ("python3", "-m", "smeagol.conformance.call")
CANNOT = ("Rejected", "Unsupported")
"""Why an accepted object will not come into force, whoever else may come: reasons of Programmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    type: str
    status: str
    reason: str
    message: str
    generation: int


@dataclass(frozen=True, slots=True)
class Running:
    """Calls that go on while something else happens."""

    _ended: Callable[[], Output]

    def result(self) -> Result:
        return _read(self._ended())[0]


@dataclass(slots=True)
class Bench:
    """One case's view of the platform. `applied` keeps what it has applied, for the report and the clean-up."""

    driver: Driver
    limits: Limits
    features: frozenset[str]
    provider_class: str = ""
    applied: list[Manifest] = field(default_factory=list)
    tags: dict[str, list[int]] = field(default_factory=dict)
    """of generated calls: passed and all, by tag"""
    made: dict[str, set[str]] = field(default_factory=dict)
    """what the provider was seen to make, without a data plane: uids by kind"""
    held: list[str] = field(default_factory=list)
    """what was judged, and was as the rules say"""
    not_run: list[str] = field(default_factory=list)
    """what was expected of traffic where there is none"""
    _there: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)

    # Objects.

    def apply(self, *objects: Manifest, wait: bool = True) -> None:
        """Apply, and wait until what is to become true has: Pods are ready, and objects of the mesh are judged."""
        generations = {reference(o): self._generation(o) for o in objects}
        changed = [o for o in objects if self._there.get(reference(o)) != o]
        self.driver.apply(objects)
        self.applied += objects
        self._there |= {reference(o): o for o in objects}
        if wait:
            for manifest in objects:
                self._wait_for(manifest, generations[reference(manifest)] + (manifest in changed))

    def delete(self, *objects: Manifest) -> None:
        """Delete, and wait until the objects are gone, and what the provider has made for them."""
        owners = {uid: o for o in objects if _of_the_mesh(o) and (uid := self._look_at_what_was_made(o))}
        self.driver.delete(objects)
        for manifest in objects:
            self._there.pop(reference(manifest), None)
        self.until(lambda: self._gone(objects), seconds=self.limits.delete)
        self.until(lambda: self._undone(owners), seconds=self.limits.delete)

    @contextmanager
    def having(self, *objects: Manifest) -> Iterator[None]:
        """These objects for a while."""
        self.apply(*objects)
        try:
            yield
        finally:
            self.delete(*objects)

    def clean_up(self) -> None:
        """Delete all that the case has left."""
        self.delete(*reversed(self._there.values()))

    def refused(self, manifest: Manifest, because: str) -> None:
        """Expect that the platform refuses an object at admission, with words that contain `because`."""
        said = self.driver.refusal(manifest)
        if because.lower() not in said.lower() or not said:
            raise UnmetError(
                f"this must be refused at admission:\n{yaml.safe_dump(manifest, sort_keys=False)}",
                expected=f"a refusal that says {because!r}",
                seen=said or "it was taken",
            )
        self.held.append(f"{' '.join(reference(manifest))} refused")

    # Statuses.

    def status(self, kind: str, namespace: str, name: str) -> Mapping[str, Any]:
        found = self.driver.get(kind, namespace, name)
        return found.get("status", {}) if found else {}

    def condition(self, type_: str, kind: str, namespace: str, name: str) -> Condition | None:
        for each in self.status(kind, namespace, name).get("conditions", ()):
            if each["type"] == type_:
                return Condition(
                    type=type_,
                    status=each["status"],
                    reason=each.get("reason", ""),
                    message=each.get("message", ""),
                    generation=each.get("observedGeneration", 0),
                )
        return None

    def expect_condition(
        self, manifest: Manifest, type_: str, status: str, reason: str, *, naming: str = ""
    ) -> Condition:
        """Wait until an object's condition has this status and reason, about its present generation."""
        ref = reference(manifest)

        def check() -> Condition:
            found = self.condition(type_, *ref)
            right = found is not None and (found.status, found.reason) == (status, reason) and naming in found.message
            if found is None or not right:
                raise UnmetError(
                    f"condition {type_} of {' '.join(ref)}",
                    expected=f"{status}, {reason}" + (f", naming {naming}" if naming else ""),
                    seen=f"{found.status}, {found.reason}: {found.message}" if found else "no such condition",
                )
            return found

        found = self.until(check, seconds=self.limits.condition)
        self.held.append(f"{type_}={status} {reason} of {manifest['kind']} {ref[2]}")
        return found

    def expect_unsupported(self, manifest: Manifest, feature: str, field: str) -> None:
        """Expect that the provider says, of this field of the object or below it, that it lacks this feature."""
        self.expect_condition(manifest, "FullySupported", "False", "Unsupported")
        entries = self.status(*reference(manifest)).get("providers", ())
        found = [(each["field"], each["feature"]) for entry in entries for each in entry.get("unsupported", ())]
        if not any(place.startswith(field) and lacks == feature for place, lacks in found):
            raise UnmetError(
                f"status.providers[].unsupported of {' '.join(reference(manifest))}",
                expected=f"{field}, {feature}",
                seen=found,
            )

    def expect_nothing_made(self, manifest: Manifest) -> None:
        """Expect that the provider has made no object for this one, as far as the platform shows such."""
        if found := self._made_for(manifest)[1]:
            seen = ", ".join(f"{each.kind} {each.name}" for each in found)
            raise UnmetError(f"what was made for {' '.join(reference(manifest))}", expected="nothing", seen=seen)

    def expect_event(self, manifest: Manifest, type_: str, reason: str) -> None:
        def check() -> None:
            found = self.driver.events(*reference(manifest))
            if not any((event.type, event.reason) == (type_, reason) for event in found):
                raise UnmetError(
                    f"an Event of {' '.join(reference(manifest))}", expected=f"{type_} {reason}", seen=_shown(found)
                )

        self.until(check, seconds=self.limits.condition)
        self.held.append(f"{type_} Event {reason} of {manifest['kind']} {reference(manifest)[2]}")

    # Traffic.

    def call(self, source: str, *calls: Call) -> list[Result]:
        """Call from inside a Pod (`namespace/pod`). Raises NotHereError where there is no data plane."""
        self._runs(source)
        namespace, _, pod = source.partition("/")
        return _read(self.driver.exec(namespace, pod, CALL, stdin=_calls(calls)))

    def calling(self, source: str, call: Call) -> Running:
        """Begin to call, while the case goes on. Raises NotHereError where there is no data plane."""
        self._runs(source)
        namespace, _, pod = source.partition("/")
        return Running(self.driver.background(namespace, pod, CALL, stdin=_calls([call])))

    def expect_answers(self, source: str, url: str, *versions: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Wait until exactly these answer, all requests well."""
        if not self._looks(f"answers of {', '.join(versions)} at {url}"):
            return

        def check() -> None:
            got = self.call(source, Call(url=url, count=self.limits.few * len(versions), headers=tuple(headers)))[0]
            if set(got.versions) != set(versions) or got.errors:
                raise UnmetError(
                    f"{url} called from {source}", expected=f"answers of {', '.join(sorted(versions))}", seen=told(got)
                )

        self.settles(check)

    def expect_shares(self, source: str, url: str, **weights: int) -> None:
        """Expect that answers divide by these weights (`v1`, …), and that none fails."""
        if not self._looks(f"shares at {url}"):
            return
        total = sum(weights.values())
        shares = {name: Fraction(weight, total) for name, weight in weights.items()}
        self.settles(lambda: self._only(source, url, [name for name, share in shares.items() if share]), times=1)
        got = self.call(source, Call(url=url, count=self.limits.requests))[0]
        wrong = complaints(got.versions, shares)
        if wrong or got.errors:
            raise UnmetError(
                f"{url} called {got.sent} times from {source}: {'; '.join(wrong)}",
                expected=", ".join(f"{name} {float(share):.2%}" for name, share in shares.items()) + ", no error",
                seen=told(got),
            )

    def _only(self, source: str, url: str, versions: Sequence[str]) -> None:
        got = self.call(source, Call(url=url, count=self.limits.few))[0]
        if not set(got.versions) <= set(versions) or got.errors:
            raise UnmetError(f"{url} called from {source}", expected=f"none but {', '.join(versions)}", seen=told(got))

    def expect_refused(self, source: str, url: str, *, tls: Tls | None = None) -> None:
        """Expect that nobody answers and nothing is heard, at once and again."""
        if not self._looks(f"a refusal at {url}"):
            return

        def check() -> None:
            got = self.call(source, Call(url=url, tls=tls, timeout=4))[0]
            if got.failed != got.sent or got.statuses:
                raise UnmetError(f"{url} called from {source}", expected="no answer at all", seen=told(got))

        self.settles(check, times=2)

    def _looks(self, what: str) -> bool:
        """Whether traffic can be looked at. Where not, it is noted."""
        if not self.driver.data_plane:
            self.not_run.append(what)
        return self.driver.data_plane

    def _runs(self, source: str) -> None:
        if not self.driver.data_plane:
            raise NotHereError(f"calls from {source}, and what follows from their answers")

    def tally(self, tags: Sequence[str], *, passed: bool) -> None:
        """Count a generated call for each of its tags."""
        for tag in tags:
            counts = self.tags.setdefault(tag, [0, 0])
            counts[0] += passed
            counts[1] += 1

    def heard(self, server: str, port: int = 8080) -> tuple[int, int]:
        """How many requests and raw connections have reached an application, as it counts them itself."""
        told = self.call(server, Call(url=f"http://127.0.0.1:{port}/seen"))[0].last
        return int(told["requests"]), int(told["connections"])

    def ip(self, pod: str) -> str:
        """A Pod's first address, as a URL has it."""
        namespace, _, name = pod.partition("/")
        found = self.driver.pod(namespace, name)
        if found is None or not found.ips:
            raise ConformanceError(f"Pod {pod} has no address")
        return f"[{found.ips[0]}]" if ":" in found.ips[0] else found.ips[0]

    # Waiting.

    def until(self, check: Callable[[], T], *, seconds: float) -> T:
        """What `check` returns as soon as it raises nothing; its last complaint if it always does."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return check()
            except UnmetError as error:
                if time.monotonic() > deadline:
                    error.what += f" (waited {seconds:g} s)"
                    raise
            time.sleep(self.limits.poll)

    def settles(self, check: Callable[[], None], *, times: int = 0) -> None:
        """Expect that `check` comes to hold, and holds several times in a row from then on."""

        def in_a_row() -> None:
            for _ in range(times or self.limits.in_a_row):
                check()

        self.until(in_a_row, seconds=self.limits.effect)

    def _generation(self, manifest: Manifest) -> int:
        found = self.driver.get(*reference(manifest)) if _of_the_mesh(manifest) else None
        return int(found["metadata"]["generation"]) if found else 0

    def _wait_for(self, manifest: Manifest, generation: int) -> None:
        if _of_the_mesh(manifest) and manifest["kind"] != "ProviderClass":
            self.until(lambda: self._judged(manifest, generation), seconds=self.limits.condition)
            if not self.driver.data_plane:
                self._look_at_what_was_made(manifest)
                accepted = self.condition("Accepted", *reference(manifest))
                taken = accepted is not None and accepted.status == "True"
                self.held.append(f"{manifest['kind']} {reference(manifest)[2]} {'taken' if taken else 'not accepted'}")
        elif manifest["kind"] in ("Pod", "Deployment"):
            self.until(lambda: self._ready(manifest), seconds=self.limits.start)

    def _judged(self, manifest: Manifest, generation: int) -> None:
        """It is Programmed, or is not to be; without a data plane, nothing but that keeps it from coming into force."""
        ref = reference(manifest)
        accepted, programmed = self.condition("Accepted", *ref), self.condition("Programmed", *ref)
        if accepted is None or accepted.generation < generation:
            raise UnmetError(
                f"{' '.join(ref)} is not judged", expected=f"Accepted about generation {generation}", seen=accepted
            )
        if accepted.status != "True":
            return
        if not self.driver.data_plane:
            if programmed is None or programmed.generation < generation or programmed.reason in CANNOT:
                raise UnmetError(f"{' '.join(ref)} is not taken", expected=f"not {', '.join(CANNOT)}", seen=programmed)
        elif programmed is None or programmed.status != "True":
            raise UnmetError(f"{' '.join(ref)} is not in force", expected="Programmed=True", seen=programmed)

    def _made_for(self, manifest: Manifest) -> tuple[str, Sequence[Made]]:
        """The object's uid, and what was made for it; empty where it is not there, or the platform does not show it."""
        _, namespace, _ = ref = reference(manifest)
        found = self.driver.get(*ref) if not self.driver.data_plane else None
        if found is None or not namespace:
            return "", ()
        uid = str(found["metadata"]["uid"])
        return uid, self.driver.made_for(namespace, uid)

    def _look_at_what_was_made(self, manifest: Manifest) -> str:
        """Keep it for the report. Returns the object's uid."""
        uid, found = self._made_for(manifest)
        for each in found:
            self.made.setdefault(each.kind, set()).add(each.uid)
        return uid

    def _undone(self, owners: Mapping[str, Manifest]) -> None:
        """spec: SMI-COMMON-03"""
        for uid, manifest in owners.items():
            _, namespace, name = reference(manifest)
            if left := self.driver.made_for(namespace, uid):
                raise UnmetError(
                    f"{manifest['kind']} {namespace}/{name} is deleted",
                    expected="what was made for it is gone",
                    seen=", ".join(f"{each.kind} {each.name}" for each in left),
                )

    def _ready(self, manifest: Manifest) -> None:
        _, namespace, name = reference(manifest)
        replicas = manifest["spec"].get("replicas", 1)
        own = [p for p in self.driver.pods(namespace) if p.name == name or p.name.startswith(f"{name}-")]
        if manifest["kind"] == "Pod":
            own = [p for p in own if p.name == name]
        for each in own:
            if each.no_image:
                raise NoImageError(
                    each.no_image,
                    where=f"Pod {namespace}/{each.name}",
                    fix="Name one by --image that the nodes can pull",
                )
        if len([p for p in own if p.ready]) != replicas or len(own) != replicas:
            raise UnmetError(
                f"{manifest['kind']} {namespace}/{name} is not ready", expected=f"{replicas} Pods", seen=own
            )

    def _gone(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            kind, namespace, name = reference(manifest)
            if _of_the_mesh(manifest):
                there = self.driver.get(kind, namespace, name) is not None
            elif kind in ("Pod", "Deployment"):
                there = any(
                    p.name == name or (p.name.startswith(f"{name}-") and kind == "Deployment")
                    for p in self.driver.pods(namespace)
                )
            else:
                there = False
            if there:
                raise UnmetError(f"{kind} {namespace}/{name} is still there")


def told(result: Result) -> str:
    """A Result in words."""
    parts = [f"{name} answered {count}" for name, count in sorted(result.versions.items())]
    parts += [f"{count} failed ({why})" for why, count in result.errors.items()]
    parts += [f"status {code}: {count}" for code, count in result.statuses.items() if code != "200"]
    return f"of {result.sent}: {', '.join(parts) or 'nothing'}"


def _of_the_mesh(manifest: Manifest) -> bool:
    return str(manifest["apiVersion"]).startswith("smi-spec.io/")


def _calls(calls: Sequence[Call]) -> str:
    return json.dumps([asdict(call) for call in calls])


def _read(output: Output) -> list[Result]:
    if output.code:
        raise ConformanceError(f"the client in its Pod ended with code {output.code}: {output.errors.strip()[-300:]}")
    return made(output.text)


def _shown(events: Sequence[Event]) -> str:
    return "; ".join(f"{event.type} {event.reason}: {event.message}" for event in events) or "none"
