"""Picks cases, brings their stages up, runs them one by one, and says what came of each."""

from __future__ import annotations

import difflib
import fnmatch
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import yaml

from smeagol.conformance.bench import Bench
from smeagol.conformance.cases import CASES
from smeagol.conformance.coverage import UNSEEN
from smeagol.conformance.driver import Driver, Manifest
from smeagol.conformance.limits import Limits
from smeagol.conformance.model import (
    PROFILES,
    Case,
    ConformanceError,
    NoImageError,
    NotHereError,
    Outcome,
    Result,
    UnmetError,
)
from smeagol.conformance.write import provider_class, stage
from smeagol.errors import SmeagolError

__all__ = ["Pick", "Run", "by_profile", "chosen", "features_of", "groups", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Which cases: those that meet every filter that is given, and of each filter any of its values."""

    profiles: Sequence[str] = ()
    cases: Sequence[str] = ()
    """names, with `*` for any text"""
    rules: Sequence[str] = ()
    features: Sequence[str] = ()


@dataclass(slots=True)
class Run:
    """What a run has found so far."""

    features: frozenset[str] = frozenset()
    controller: str = ""
    results: list[Result] = field(default_factory=list)
    tags: dict[str, list[int]] = field(default_factory=dict)
    made: dict[str, set[str]] = field(default_factory=dict)
    """what the provider was seen to make, where there is no data plane: uids by kind"""

    @property
    def failed(self) -> int:
        return sum(result.outcome is Outcome.FAILED for result in self.results)


def chosen(pick: Pick) -> tuple[Case, ...]:
    """The cases, in their order. Raises ConformanceError for a filter that fits nothing."""
    known: dict[str, tuple[Sequence[str], Callable[[Case], Sequence[str]]]] = {
        "profile": (pick.profiles, lambda case: [case.profile]),
        "name": (pick.cases, lambda case: [case.name]),
        "rule": (pick.rules, lambda case: list(case.rules)),
        "feature": (pick.features, lambda case: sorted(case.features)),
    }
    found = list(CASES)
    for what, (wanted, values) in known.items():
        for each in wanted:
            if not any(fnmatch.fnmatchcase(value, each) for case in CASES for value in values(case)):
                values_of_all = {value for case in CASES for value in values(case)}
                raise ConformanceError(f"no case has the {what} {each!r}", fix=_instead(each, values_of_all))
        if wanted:
            found = [c for c in found if any(fnmatch.fnmatchcase(v, each) for v in values(c) for each in wanted)]
    return tuple(found)


def _instead(given: str, known: Iterable[str]) -> str:
    """What to do about a filter that fits nothing."""
    if given in UNSEEN:
        return f"Nothing of this rule is seen from outside: {UNSEEN[given]}"
    likely = difflib.get_close_matches(given.upper(), spelt := {each.upper(): each for each in known})
    meant = f"Did you mean {' or '.join(spelt[each] for each in likely)}? " if likely else ""
    return f"{meant}See smeagol conformance --list"


def features_of(driver: Driver, name: str, controller: str, limits: Limits) -> tuple[frozenset[str], str, bool]:
    """What a ProviderClass declares, its controller, and whether the class had to be made, for this `controller`.

    Raises ConformanceError if nobody answers for the class, it is not there and there is no controller to name, or it
    is not the default, so that the suite's objects would be another's.
    """
    made = driver.get("ProviderClass", "", name) is None
    if made and not controller:
        raise ConformanceError(
            f"there is no ProviderClass {name!r}",
            fix="Name one by -p (kubectl get providerclasses); by --controller one is made for the time of the run",
        )
    if made:
        driver.apply([provider_class(name, controller, default=True)])
    try:
        if (default := driver.default_class()) not in (name, None):
            raise ConformanceError(
                f"objects that name no class are of {f'ProviderClass {default!r}' if default else 'no ProviderClass'}, "
                f"not of {name!r}, and those of the suite name none",
                fix="Let it be the only class annotated smi-spec.io/is-default-class=true while the suite runs",
            )
        return *_declared(driver, name, controller, limits), made
    except BaseException:
        if made:
            driver.delete([provider_class(name, controller)])
        raise


def _declared(driver: Driver, name: str, controller: str, limits: Limits) -> tuple[frozenset[str], str]:
    deadline = time.monotonic() + limits.condition
    found: Manifest | None = None
    while time.monotonic() < deadline:
        found = driver.get("ProviderClass", "", name)
        status = found.get("status", {}) if found else {}
        if found and status.get("conditions"):
            said = str(found.get("spec", {}).get("controllerName", controller))
            return frozenset(status.get("supportedFeatures", ())), said
        time.sleep(limits.poll)
    raise ConformanceError(
        f"no provider has written the status of ProviderClass {name!r}",
        where=f"controllerName {found.get('spec', {}).get('controllerName', controller) if found else controller}",
        fix="See that the provider runs, and that this is the controllerName it answers to",
    )


def run(
    driver: Driver,
    cases: Sequence[Case],
    *,
    provider: str,
    controller: str,
    limits: Limits,
    at_once: int = 1,
    begun: Callable[[], None] = lambda: None,
    ended: Callable[[Result], None] = lambda _: None,
) -> Run:
    """Run the cases; every one has a result, whatever happens to the others. What was applied is deleted at the end.

    `begun` is called once somebody answers for the ProviderClass, before the first case. `at_once`: how many groups of
    cases that share no Pods run side by side.
    """
    features, controller, made = features_of(driver, provider, controller, limits)
    begun()
    stop = threading.Event()

    def group(chosen: Sequence[Case]) -> Run:
        found = Run(features=features, controller=controller)
        stages = _Stages(driver, limits)
        try:
            for case in chosen:
                if stop.is_set():
                    break
                found.results.append(_one(case, driver, provider, limits, found, stages))
                ended(found.results[-1])
        finally:
            stages.clear()
        return found

    try:
        if at_once == 1:
            return group(cases)
        with ThreadPoolExecutor(at_once) as pool:
            try:
                return _together([each.result() for each in [pool.submit(group, own) for own in groups(cases)]], cases)
            except BaseException:
                stop.set()  # each ends its case, and deletes what it has applied
                raise
    finally:
        if made:
            driver.delete([provider_class(provider, controller)])


def groups(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases, so that those that share a stage are together, in their order."""
    found: list[tuple[set[str], list[Case]]] = []
    for case in cases:
        apart = [each for each in found if not each[0] & set(case.stage)]
        joined = [each for each in found if each[0] & set(case.stage)]
        stage = set(case.stage).union(*(names for names, _ in joined))
        found = [*apart, (stage, [*(c for _, own in joined for c in own), case])]
    return [sorted(own, key=cases.index) for _, own in found]


def _together(runs: Sequence[Run], cases: Sequence[Case]) -> Run:
    results = sorted((result for each in runs for result in each.results), key=lambda result: cases.index(result.case))
    tags: dict[str, list[int]] = {}
    for each in runs:
        for tag, (passed, total) in each.tags.items():
            before = tags.get(tag, [0, 0])
            tags[tag] = [before[0] + passed, before[1] + total]
    made: dict[str, set[str]] = {}
    for each in runs:
        for kind, uids in each.made.items():
            made[kind] = made.get(kind, set()) | uids
    return Run(features=runs[0].features, controller=runs[0].controller, results=results, tags=tags, made=made)


def _one(case: Case, driver: Driver, provider: str, limits: Limits, run: Run, stages: _Stages) -> Result:
    if missing := sorted(case.features - run.features):
        return Result(case=case, outcome=Outcome.SKIPPED, message=f"not declared: {', '.join(missing)}")
    if had := sorted(case.lacking & run.features):
        return Result(case=case, outcome=Outcome.SKIPPED, message=f"about providers without {', '.join(had)}")
    bench = Bench(driver, limits, run.features, provider, tags=run.tags, made=run.made)
    start = time.monotonic()
    outcome, message = Outcome.PASSED, ""
    try:
        stages.need(case.stage)
        try:
            case.check(bench)
        except NotHereError as error:
            bench.not_run.append(str(error))
        finally:
            bench.clean_up()
        outcome, message = _passed(bench)
    except NoImageError:
        raise  # it is the same for all
    except (UnmetError, SmeagolError) as error:
        outcome, message = Outcome.FAILED, str(error)
    except (
        Exception
    ) as error:  # a status or an answer of no known shape is the provider's fault, not the end of the run
        outcome, message = Outcome.FAILED, f"{type(error).__name__}: {error}"
    failed = outcome is Outcome.FAILED
    return Result(
        case=case,
        outcome=outcome,
        seconds=time.monotonic() - start,
        message=message,
        applied=yaml.safe_dump_all(_distinct(bench.applied), sort_keys=False) if failed else "",
    )


def _passed(bench: Bench) -> tuple[Outcome, str]:
    """Of a case in which nothing was unmet. It has passed only if all of it was run."""
    if not bench.not_run:
        return Outcome.PASSED, ""
    missing, held = list(dict.fromkeys(bench.not_run)), list(dict.fromkeys(bench.held))
    message = f"not run: {missing[0]}" + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
    if not held:
        return Outcome.SKIPPED, message
    return Outcome.PARTLY, f"held: {'; '.join(held)}. {message[0].upper()}{message[1:]}"


def _distinct(objects: Iterable[Manifest]) -> list[Manifest]:
    found: list[Manifest] = []
    for each in objects:
        if each not in found:
            found.append(each)
    return found


class _Stages:
    """The Pods that cases share. They stay until a case comes that needs none of them."""

    def __init__(self, driver: Driver, limits: Limits) -> None:
        self._driver = driver
        self._limits = limits
        self._up: dict[str, Bench] = {}
        self._ready: set[str] = set()

    def need(self, names: Sequence[str]) -> None:
        if not set(self._up) & set(names):
            self.clear()
        for name in names:
            if name not in self._ready:
                bench = self._up.setdefault(name, Bench(self._driver, self._limits, frozenset()))
                bench.apply(*stage(name))  # anew if it has failed; what was applied is to be deleted all the same
                self._ready.add(name)

    def clear(self) -> None:
        for bench in self._up.values():
            bench.clean_up()
        self._up.clear()
        self._ready.clear()


def by_profile(results: Iterable[Result]) -> Iterator[tuple[str, Mapping[bool, list[Result]]]]:
    """The results of each profile that has any: those of core cases (True) and of extended ones."""
    found = list(results)
    for name in PROFILES:
        own = [result for result in found if result.case.profile == name]
        if own:
            yield name, {core: [r for r in own if r.case.core is core] for core in (True, False)}
