"""A folder of ordinary manifests as the source of objects: what `smeagol up` watches.

Nothing is lost to bad input: a file that cannot be read just now, and an object that the API server would refuse,
keep their last good content, and the problem is reported with its place. A file that is gone takes its objects along.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EILSEQ
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from smeagol.api import (
    Document,
    Json,
    Place,
    Problem,
    Reading,
    Refused,
    SmiObject,
    Unknown,
    modernize,
    parse,
    read_path,
)
from smeagol.intent import EXCLUDE_INBOUND, EXCLUDE_OUTBOUND, PROXY_CONTAINER, port_list
from smeagol.objects import (
    Container,
    Deployment,
    EndpointSlice,
    Metadata,
    Namespace,
    Pod,
    PodSpec,
    Service,
    ServiceAccount,
)
from smeagol.refs import ObjectRef
from smeagol.sources.cluster import Manifests

__all__ = ["CoreObject", "Folder", "FolderReader", "read_folder"]

CoreObject: TypeAlias = Deployment | Pod | Service | EndpointSlice | Namespace | ServiceAccount

CORE_KINDS: Final[Mapping[tuple[str, str], type[CoreObject]]] = {
    ("apps/v1", "Deployment"): Deployment,
    ("v1", "Pod"): Pod,
    ("v1", "Service"): Service,
    ("v1", "Namespace"): Namespace,
    ("v1", "ServiceAccount"): ServiceAccount,
    ("discovery.k8s.io/v1", "EndpointSlice"): EndpointSlice,
}

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123 subdomain, as Kubernetes names objects
MOST_REPLICAS = 250
"""Of one Deployment: each Pod is a handful of processes; kubelets take 110 Pods on a node unless told otherwise."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123 label, as it names namespaces
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035 label, as it names Services
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_TOOLS = frozenset({"node_modules", "__pycache__"})
"""Folders that tools fill, as those whose name begins with a dot: nobody keeps manifests there."""

T = TypeVar("T")
_Found: TypeAlias = tuple[tuple[ObjectRef, CoreObject | SmiObject | None] | None, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a folder says now. `ignored`: objects of kinds that standalone mode does not carry out."""

    core: Mapping[ObjectRef, CoreObject] = field(default_factory=dict)
    smi: Mapping[ObjectRef, SmiObject] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    ignored: tuple[ObjectRef, ...] = ()

    def manifests(self) -> Manifests:
        """The objects of Kubernetes, sorted by kind."""

        def of(kind: type[T]) -> dict[tuple[str, str], T]:
            return {(ref.namespace, ref.name): o for ref, o in self.core.items() if isinstance(o, kind)}

        return Manifests(
            deployments=of(Deployment),
            pods=of(Pod),
            services=of(Service),
            endpoint_slices=of(EndpointSlice),
            namespaces={name: o for (_, name), o in of(Namespace).items()},
        )


FRESH_SECONDS = 2
"""A file that was written so shortly before it was read may be written again without its fingerprint telling: clocks of
file systems tick in steps."""


class Fingerprint(NamedTuple):
    """What differs when a file was written anew."""

    inode: int
    modified_ns: int
    size: int


@dataclass(slots=True)
class _File:
    fingerprint: Fingerprint
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    fresh: bool
    """it is read again at the next scan, whatever its fingerprint says"""
    held: frozenset[ObjectRef] = frozenset()
    """the objects that stood here at the last scan"""


def read_folder(roots: Iterable[Path]) -> Folder:
    """Read folders and files once."""
    return FolderReader(*roots).scan()


class FolderReader:
    """Reads folders (or single files) again and again; a file is parsed anew only when it changed.

    What is in the folder `without` is not read.
    """

    def __init__(self, *roots: Path, without: Path | None = None) -> None:
        self._roots = roots
        self._without = without
        self._files: dict[Path, _File] = {}
        self._good: dict[ObjectRef, CoreObject | SmiObject] = {}

    def scan(self) -> Folder:
        """The folder as it is now. Raises nothing: an unreadable folder is a problem of that scan."""
        unread = self._refresh()
        objects: dict[ObjectRef, CoreObject | SmiObject | None] = {}
        problems = [_unreadable(error) for error in unread]
        places: dict[ObjectRef, Document] = {}
        unnamed: set[ObjectRef] = set()
        for path in sorted(self._files):
            file = self._files[path]
            problems += file.problems
            held: set[ObjectRef] = set()
            for document in file.documents:
                found, wrong = self._object(document, path.parent)
                problems += wrong
                if found is None:
                    # It may be any of those that stood here and do not any more, while somebody writes.
                    unnamed |= file.held
                    held |= file.held
                    continue
                ref, obj = found
                held.add(ref)
                if ref in places:
                    problems.append(_twice(ref, document, places[ref]))
                    continue
                places[ref] = document
                objects[ref] = obj
            file.held = frozenset(held)
        objects |= {ref: self._good[ref] for ref in unnamed & self._good.keys() if ref not in objects}
        core = {ref: obj for ref, obj in objects.items() if isinstance(obj, CoreObject)}
        smi = {ref: obj for ref, obj in objects.items() if obj is not None and not isinstance(obj, CoreObject)}
        self._good = {**core, **smi}
        ignored = tuple(ref for ref, obj in objects.items() if obj is None)
        return Folder(core=core, smi=smi, problems=tuple(problems), ignored=ignored)

    def _refresh(self) -> list[OSError]:
        """Bring `_files` up to date. What cannot be looked into just now stays as it was, and is returned."""
        unread: list[OSError] = []
        present = {
            path: Fingerprint(stat.st_ino, stat.st_mtime_ns, stat.st_size)
            for root in self._roots
            for path in _manifests(root, self._without, unread.append)
            if (stat := _stat(path)) is not None
        }
        for path in self._files.keys() - present.keys():
            if not any(path.is_relative_to(error.filename) for error in unread):
                del self._files[path]
        for path, fingerprint in present.items():
            known = self._files.get(path)
            if known is None or known.fingerprint != fingerprint or known.fresh:
                fresh = abs(time.time() - fingerprint.modified_ns / 1e9) < FRESH_SECONDS
                emptied = not fingerprint.size and known is not None and known.documents
                reading = _emptied(path) if emptied else read_path(path)
                held = known.held if known is not None else frozenset()
                self._files[path] = _File(fingerprint, _last_good(reading, known), reading.problems, fresh, held)
        return unread

    def _object(self, document: Document, folder: Path) -> _Found:
        """The object of a document, None in its place if the kind is not carried out; and what is wrong with it."""
        modern = modernize(document)  # early drafts are read as what they became
        parsed = modern if isinstance(modern, Refused) else parse(modern.document)
        if isinstance(parsed, Unknown):
            return self._core_object(parsed, folder)
        if isinstance(parsed, Refused):
            return self._last([parsed.object] if parsed.object else []), parsed.problems
        return (parsed.ref, parsed), ()

    def _core_object(self, unknown: Unknown, folder: Path) -> _Found:
        document = unknown.document
        ref, problem = _reference(document, unknown.kind)
        if problem is not None:
            return None, (problem,)
        model = CORE_KINDS.get((unknown.api_version, unknown.kind))
        if model is None:
            return (ref, None), ()
        try:
            obj = msgspec.convert(document.value, model)
            _check(obj)
        except ValueError as error:  # msgspec.ValidationError is one
            fix = "Write it as Kubernetes wants it: kubectl explain shows the type of each field"
            wrong = Problem(code="SMI-V002", what=str(error), fix=fix, place=document.place, object=ref)
            return self._last([ref]), (wrong,)
        return (ref, _at_home(_with_namespace(obj, ref.namespace), folder)), ()

    def _last(self, refs: Iterable[ObjectRef]) -> tuple[ObjectRef, CoreObject | SmiObject] | None:
        for ref in refs:
            if (good := self._good.get(ref)) is not None:
                return ref, good
        return None


def _manifests(root: Path, without: Path | None, failed: Callable[[OSError], None]) -> Iterator[Path]:
    """The files beneath `root` that may hold manifests, or itself; `failed` is told of what cannot be looked into."""
    if os.path.isfile(root):  # noqa: PTH113  # Path.is_file raises where a folder above may not be entered
        yield root
        return

    def on_error(error: OSError) -> None:
        if error.filename == str(root) or not isinstance(error, FileNotFoundError | NotADirectoryError):
            failed(error)  # else it has gone since its parent was read

    for folder, folders, names in os.walk(root, onerror=on_error):
        at = Path(folder)
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _TOOLS and at / f != without]
        for name in names:
            if Path(name).suffix not in _SUFFIXES or Path(name).stem == "kustomization":
                continue
            if name.isprintable():
                yield at / name
            else:
                failed(OSError(EILSEQ, "its name is not text", str(at / name)))


def _unreadable(error: OSError) -> Problem:
    path = os.fsencode(error.filename).decode(errors="replace")
    return Problem(
        code="SMI-F001",
        what=f"this cannot be read, and what was read from it before stays in force: {error.strerror}",
        fix="Check the path and its permissions",
        place=Place(file=path),
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat() if path.is_file() else None
    except OSError:
        return None


def _last_good(reading: Reading, known: _File | None) -> tuple[Document, ...]:
    """An editor may leave half a file for a moment: a text that cannot be read leaves what was there before."""
    return known.documents if reading.problems and known is not None else reading.documents


def _emptied(path: Path) -> Reading:
    """A file that had content and now has none is about to be written, or a slip: neither should end what runs."""
    what = "the file has become empty, and its objects stay as they were"
    fix = "Write them again, or remove the file to remove them"
    return Reading(problems=(Problem(code="SMI-F007", what=what, fix=fix, place=Place(file=str(path))),))


def _reference(document: Document, kind: str) -> tuple[ObjectRef, Problem | None]:
    value: Json = document.value
    metadata = value.get("metadata") if isinstance(value, dict) else None
    fields = metadata if isinstance(metadata, dict) else {}
    name, namespace = str(fields.get("name") or ""), str(fields.get("namespace") or "")
    ref = ObjectRef(kind, "" if kind == "Namespace" else namespace or "default", name)
    allowed = {"Service": _SERVICE, "Namespace": _LABEL}.get(kind, _NAME)
    for path, text, form in (("name", name, allowed), ("namespace", ref.namespace or "default", _LABEL)):
        if not form.fullmatch(text):
            what = f"'{text}' is not a name that Kubernetes allows" if text else "the object has no name"
            fix = f"Use {_FORMS[form]}, beginning and ending with a letter or digit"
            place = document.place_of(("metadata", path))
            return ref, Problem(code="SMI-F009", what=what, fix=fix, place=place, object=ref, path=("metadata", path))
    return ref, None


_FORMS: Final = {
    _NAME: "lower-case letters, digits, '-' and '.'",
    _LABEL: "at most 63 lower-case letters, digits and '-'",
    _SERVICE: "a letter, then at most 62 lower-case letters, digits and '-'",
}


def _check(obj: CoreObject) -> None:
    """What the types cannot say. Raises ValueError with its place."""
    match obj:
        case Pod(metadata=metadata, spec=spec):
            _check_pod(spec, "$.spec")
            _check_annotations(metadata, "$.metadata")
        case Deployment(spec=wanted):
            _check_pod(wanted.template.spec, "$.spec.template.spec")
            _check_annotations(wanted.template.metadata, "$.spec.template.metadata")
            if wanted.replicas > MOST_REPLICAS:
                msg = f"Expected at most {MOST_REPLICAS} replicas, since all run on this machine - at `$.spec.replicas`"
                raise ValueError(msg)
        case _:
            _check_addresses(obj)


def _check_pod(spec: PodSpec, path: str) -> None:
    """There is something to run, each container has a name of its own, and text is what the system can take."""
    if not spec.containers:
        msg = f"Expected at least one container - at `{path}.containers`"
        raise ValueError(msg)
    if spec.hostname and not _LABEL.fullmatch(spec.hostname):
        msg = f"Expected {_FORMS[_LABEL]} - at `{path}.hostname`"
        raise ValueError(msg)
    names: set[str] = set()
    for kind, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for number, container in enumerate(containers):
            if container.name in names or (kind == "containers" and container.name == PROXY_CONTAINER):
                msg = f"Expected a name that no other container of the Pod has - at `{path}.{kind}[{number}].name`"
                raise ValueError(msg)
            if "\0" in container.working_dir:
                msg = f"Expected a path - at `{path}.{kind}[{number}].workingDir`"
                raise ValueError(msg)
            names.add(container.name)


def _check_annotations(metadata: Metadata, path: str) -> None:
    for annotation in (EXCLUDE_INBOUND, EXCLUDE_OUTBOUND):
        try:
            port_list(metadata.annotations.get(annotation, ""))
        except ValueError as error:
            msg = f"Expected {error}, as in '9090,9091' - at `{path}.annotations[{annotation}]`"
            raise ValueError(msg) from None


def _check_addresses(obj: CoreObject) -> None:
    """Text is an address where it must be one."""
    match obj:
        case Service(spec=spec):
            found = {"clusterIP": spec.cluster_ip, **{f"clusterIPs[{i}]": ip for i, ip in enumerate(spec.cluster_ips)}}
        case EndpointSlice(endpoints=endpoints):
            for number, endpoint in enumerate(endpoints):
                if not endpoint.addresses:
                    msg = f"Expected at least one address - at `$.endpoints[{number}].addresses`"
                    raise ValueError(msg)
            found = {f"endpoints[{i}]": ip for i, endpoint in enumerate(endpoints) for ip in endpoint.addresses}
        case _:
            return
    for path, text in found.items():
        if text not in ("", "None"):
            try:
                address = ip_address(text)
                if address.is_unspecified or address.is_multicast or address.is_loopback:
                    raise ValueError
            except ValueError:
                msg = f"Expected an IP address that a Service can have, got '{text}' - at `$.{path}`"
                raise ValueError(msg) from None


def _twice(ref: ObjectRef, document: Document, first: Document) -> Problem:
    what = f"this object stands in {first.place} already, and that one is used"
    return Problem(code="SMI-F008", what=what, fix="Remove one of the two", place=document.place, object=ref)


def _with_namespace(obj: CoreObject, namespace: str) -> CoreObject:
    return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, namespace=namespace))


def _at_home(obj: CoreObject, folder: Path) -> CoreObject:
    """Containers are processes of this machine: their `workingDir`, or none, is seen from the manifest's folder."""
    match obj:
        case Pod(spec=spec):
            return msgspec.structs.replace(obj, spec=_spec_at_home(spec, folder))
        case Deployment(spec=wanted):
            template = msgspec.structs.replace(wanted.template, spec=_spec_at_home(wanted.template.spec, folder))
            return msgspec.structs.replace(obj, spec=msgspec.structs.replace(wanted, template=template))
        case _:
            return obj


def _spec_at_home(spec: PodSpec, folder: Path) -> PodSpec:
    def moved(containers: tuple[Container, ...]) -> tuple[Container, ...]:
        return tuple(
            msgspec.structs.replace(c, working_dir=str((folder / c.working_dir).resolve())) for c in containers
        )

    return msgspec.structs.replace(spec, containers=moved(spec.containers), init_containers=moved(spec.init_containers))
