"""Whose an object is: which ProviderClass it picks, and whether that class is served here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from smeagol.api.meta import CLASS_NAMESPACE_LABEL, DEFAULT_CLASS_ANNOTATION
from smeagol.errors import sentence
from smeagol.names import NameRule

__all__ = ["ClassFacts", "Classes", "Fate", "Foreign", "Served", "Unmatched", "choose", "survey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """What counts of one ProviderClass. `created` is RFC 3339 text."""

    name: str
    controller: str
    is_default: bool
    created: str
    name_rules: tuple[NameRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What counts of all of them together. `default` is empty if no class is the default."""

    exist: bool
    default: str


@dataclass(frozen=True, slots=True)
class Served:
    """The object is ours. `class_name` is empty where no classes are used."""

    class_name: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another controller serves the object; it is none of our business."""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """No provider is known to serve the object."""

    message: str


Fate: TypeAlias = Served | Foreign | Unmatched


def survey(classes: Iterable[ClassFacts]) -> Classes:
    """Of several classes that claim to be the default, the oldest is, then the first by name."""
    known = sorted(classes, key=lambda c: (c.created, c.name))
    return Classes(exist=bool(known), default=next((c.name for c in known if c.is_default), ""))


def choose(
    own: str,
    namespace_label: str,
    classes: Classes,
    lookup: Callable[[str], ClassFacts | None],
    *,
    controllers: frozenset[str],
    serve_unclassed: bool,
) -> Fate:
    """Pick the class of an object: `spec.providerClassName`, else the namespace's label, else the default class.

    A name that no class has is answered as unmatched, never by a fall-back. With `serve_unclassed`, as in standalone
    mode, an object that picks nothing is ours as long as there is no ProviderClass at all.
    """
    name = own or namespace_label or classes.default
    if not name:
        if serve_unclassed and not classes.exist:
            return Served("")
        return Unmatched(
            sentence(
                "no ProviderClass is named and none is the default",
                f"Set spec.providerClassName, label the namespace with {CLASS_NAMESPACE_LABEL}, or annotate a "
                f'ProviderClass with {DEFAULT_CLASS_ANNOTATION}: "true"',
            )
        )
    facts = lookup(name)
    if facts is None:
        told = "spec.providerClassName" if own else f"the namespace's label {CLASS_NAMESPACE_LABEL}"
        return Unmatched(
            sentence(f"{told} names ProviderClass '{name}', which does not exist", "Create it, or name another one")
        )
    return Served(name) if facts.controller in controllers else Foreign()
