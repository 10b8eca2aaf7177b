"""What becomes of an object that is about to be stored: pure answers to reviews.

A Pod that cannot have its proxy is refused, with all reasons: started without it, it would be open where its user asked
for mutual TLS. A fault of ours is not answered here at all; the API server then does what the failure policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from smeagol import api, objects
from smeagol.api.meta import GROUP
from smeagol.errors import sentence
from smeagol.intent import AddedContainer, Condition
from smeagol.webhook.inject import Bootstrap, InjectionRefusedError, inject, warnings_of
from smeagol.webhook.review import Request, Verdict
from smeagol.webhook.settings import InjectionSettings

__all__ = ["InjectionReview", "ValidationReview"]

_ADMITTED = Verdict()
_MIRROR = "kubernetes.io/config.mirror"
"""Annotation of the API server's picture of a Pod that a kubelet runs from a file: to change it has no effect."""


class InjectionReview:
    """Answers for Pods. `decide`: the containers that a Pod gets beside its proxy; None if it gets no proxy."""

    def __init__(
        self,
        settings: InjectionSettings,
        *,
        decide: Callable[[objects.Pod], Sequence[AddedContainer] | None],
        bootstrap: Bootstrap,
    ) -> None:
        self._settings = settings
        self._decide = decide
        self._bootstrap = bootstrap

    def __call__(self, request: Request) -> Verdict:
        """Raises BadReviewError."""
        if (request.kind.kind, request.kind.group, request.operation, request.sub_resource) != (
            "Pod",
            "",
            "CREATE",
            "",
        ):
            return _ADMITTED
        pod = request.body()
        if not self._may_have_proxy(pod, request.namespace):
            return _ADMITTED
        wanted = self._decide(_facts(pod, request.namespace))
        try:
            patch = inject(pod, self._settings, self._bootstrap, wanted=wanted is not None, added=wanted or ())
        except InjectionRefusedError as error:
            return Verdict(refusal=str(error))
        return Verdict(patch=patch, warnings=warnings_of(pod, self._settings) if wanted is not None else ())

    def _may_have_proxy(self, pod: dict[str, Any], namespace: str) -> bool:
        """Never the control plane's own, which cannot wait for itself; never what the kernel rules could not hold."""
        spec = pod.get("spec") or {}
        annotations = (pod.get("metadata") or {}).get("annotations") or {}
        return (
            namespace not in {self._settings.own_namespace, *self._settings.excluded_namespaces}
            and not spec.get("hostNetwork")
            and _MIRROR not in annotations
            and (spec.get("os") or {}).get("name") != "windows"
        )


def _facts(pod: dict[str, Any], namespace: str) -> objects.Pod:
    """As much of a Pod as selection needs. Not decoded as a whole: what we would refuse, the API server may take."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    return objects.Pod(
        metadata=objects.Metadata(
            # Of a Pod made from a template only the beginning of its name is known.
            name=metadata.get("name") or metadata.get("generateName") or "",
            namespace=namespace,
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
        ),
        spec=objects.PodSpec(
            service_account_name=spec.get("serviceAccountName") or "", host_network=bool(spec.get("hostNetwork"))
        ),
    )


class ValidationReview:
    """Answers for users' objects: refused is what `smeagol validate` refuses, in its words, and warned of what status
    would say. `foresee` gives the conditions that an object would have."""

    def __init__(self, foresee: Callable[[api.SmiObject], Iterable[Condition]]) -> None:
        self._foresee = foresee

    def __call__(self, request: Request) -> Verdict:
        """Raises BadReviewError."""
        if request.kind.group != GROUP or request.operation not in {"CREATE", "UPDATE"} or request.sub_resource:
            return _ADMITTED
        place = api.Place(file="")
        parsed = api.parse(
            api.Document(value=request.body(), place=place, lines={}), default_namespace=request.namespace
        )
        if isinstance(parsed, api.Refused):
            return Verdict(refusal=" ".join(_text(problem) for problem in parsed.problems))
        if isinstance(parsed, api.Unknown):
            return _ADMITTED
        return Verdict(warnings=tuple(c.message for c in self._foresee(parsed) if not c.status))


def _text(problem: api.Problem) -> str:
    """The problem's own text, without the file that there is none of."""
    where = ", ".join(part for part in (str(problem.object) if problem.object else "", problem.field) if part)
    return f"{where + ': ' if where else ''}{sentence(problem.what, problem.fix)} [{problem.code}]"
