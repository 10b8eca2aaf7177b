"""A folder as the source of objects: what is edited takes effect, what is broken loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smeagol.api import Canary, MutualTLS
from smeagol.objects import Deployment, Pod
from smeagol.refs import ObjectRef
from smeagol.sources.files import Folder, FolderReader

CANARY = """\
apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: web, namespace: shop}
spec: {service: web, backends: [{service: web-v1, weight: %s}]}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop}
spec:
  containers: [{name: app, command: [sleep, '1'], workingDir: app}]
"""
WEB = ObjectRef("Canary", "shop", "web")


@pytest.fixture
def reader(tmp_path: Path) -> FolderReader:
    return FolderReader(tmp_path)


def weight(folder: Folder) -> int:
    """The weight of the one backend, in milliunits."""
    canary = folder.smi[WEB]
    assert isinstance(canary, Canary)
    return canary.spec.backends[0].weight


def test_objects_of_both_kinds_are_found_in_subfolders(reader: FolderReader, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_text(CANARY % 1 + "---\n" + POD)
    folder = reader.scan()
    assert set(folder.smi) == {WEB}
    assert set(folder.core) == {ObjectRef("Pod", "shop", "one")}
    assert folder.problems == ()


def test_an_edit_takes_effect(reader: FolderReader, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(CANARY % 1)
    reader.scan()
    file.write_text(CANARY % "500m")
    assert weight(reader.scan()) == 500


def test_an_edit_within_a_tick_of_the_file_systems_clock_takes_effect(reader: FolderReader, tmp_path: Path) -> None:
    """It leaves the time as it was, and here the size too."""
    file = tmp_path / "a.yaml"
    file.write_text(CANARY % 1)
    before = file.stat()
    reader.scan()
    file.write_text(CANARY % 2)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weight(reader.scan()) == 2000


def test_a_deleted_file_takes_its_objects_along(reader: FolderReader, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(CANARY % 1)
    reader.scan()
    file.unlink()
    assert reader.scan() == Folder()


def test_half_a_file_keeps_the_last_good_content(reader: FolderReader, tmp_path: Path) -> None:
    """An editor may be in the middle of writing: nothing is torn down for it, and the problem has a place."""
    file = tmp_path / "a.yaml"
    file.write_text(CANARY % 1)
    reader.scan()
    file.write_text("apiVersion: [")
    folder = reader.scan()
    assert weight(folder) == 1000
    assert [p.place.file for p in folder.problems] == [str(file)]
    file.write_text(CANARY % 2)
    assert (weight(reader.scan()), reader.scan().problems) == (2000, ())


def test_a_file_that_becomes_empty_keeps_its_objects(reader: FolderReader, tmp_path: Path) -> None:
    """Many programs empty a file before they write it anew. Who wants the objects gone removes the file."""
    file = tmp_path / "a.yaml"
    file.touch()
    assert reader.scan() == Folder()
    file.write_text(CANARY % 1)
    reader.scan()
    file.write_text("")
    folder = reader.scan()
    assert weight(folder) == 1000
    assert [(p.code, p.place.file) for p in folder.problems] == [("SMI-F007", str(file))]
    assert reader.scan() == folder
    file.write_text("# nothing any more\n")
    assert reader.scan() == Folder()


@pytest.mark.parametrize("text", ["kind: Pod\n", "apiVersion: v1\nkind: Pod\nmetadata: {name: 'W w'}\n", "hello\n"])
def test_a_document_that_names_no_object_takes_none_away(reader: FolderReader, tmp_path: Path, text: str) -> None:
    """Half a manifest may be good YAML; what else stands in the file counts, and what another file says by now."""
    file = tmp_path / "a.yaml"
    file.write_text(f"{CANARY % 1}\n---\n{POD}")
    good = reader.scan()
    file.write_text(f"{CANARY % 2}\n---\n{text}")
    for _ in range(2):
        folder = reader.scan()
        assert folder.core == good.core
        assert weight(folder) == 2000
        assert len(folder.problems) == 1
    (tmp_path / "b.yaml").write_text(POD.replace("'1'", "'2'"))
    assert [str(p.spec.containers[0].command) for p in reader.scan().manifests().pods.values()] == ["('sleep', '2')"]
    (tmp_path / "b.yaml").unlink()
    file.write_text(CANARY % 2)
    assert reader.scan().core == {}


def test_a_refused_object_keeps_its_last_good_version(reader: FolderReader, tmp_path: Path) -> None:
    """As the API server would refuse the update and keep what it has."""
    file = tmp_path / "a.yaml"
    file.write_text(POD)
    reader.scan()
    file.write_text(POD.replace("[sleep, '1']", "7"))
    folder = reader.scan()
    pod = folder.core[ObjectRef("Pod", "shop", "one")]
    assert isinstance(pod, Pod)
    assert pod.spec.containers[0].command == ("sleep", "1")
    assert "$.spec.containers[0].command" in str(folder.problems[0])


def test_an_object_written_twice_is_reported(reader: FolderReader, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CANARY % 1)
    (tmp_path / "b.yaml").write_text(CANARY % 2)
    folder = reader.scan()
    assert weight(folder) == 1000
    assert "stands in" in str(folder.problems[0])
    assert folder.problems[0].place.file == str(tmp_path / "b.yaml")


@pytest.mark.parametrize("name", ["../../etc", "Web", "a b", "", "-x", "a" * 254])
def test_names_that_kubernetes_refuses_are_refused(reader: FolderReader, tmp_path: Path, name: str) -> None:
    """Names become file names and host names here, so this also keeps them inside their folder."""
    (tmp_path / "a.yaml").write_text(POD.replace("name: one", f"name: '{name}'"))
    folder = reader.scan()
    assert folder.core == {}
    assert len(folder.problems) == 1


def test_kinds_that_standalone_mode_does_not_carry_out_are_named(reader: FolderReader, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")
    assert reader.scan().ignored == (ObjectRef("ConfigMap", "default", "c"),)


def test_working_directories_are_seen_from_the_manifest(reader: FolderReader, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
        "spec: {template: {spec: {containers: [{name: a, command: [x]}, {name: b, command: [x], workingDir: app}]}}}"
    )
    deployment = reader.scan().core[ObjectRef("Deployment", "default", "d")]
    assert isinstance(deployment, Deployment)
    found = [c.working_dir for c in deployment.spec.template.spec.containers]
    assert found == [str(tmp_path), str(tmp_path / "app")]


def test_early_drafts_are_read_as_what_they_became(reader: FolderReader, tmp_path: Path) -> None:
    """SMI-COMMON-06: tools convert the early drafts."""
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1beta1\nkind: TLSConfig\nname: old\n"
        "spec: {selector: {matchLabels: {app: web}}, subjectNames: [web.example]}"
    )
    folder = reader.scan()
    (found,) = folder.smi.values()
    assert isinstance(found, MutualTLS)
    assert found.spec.client_subject_names == ("web.example",)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {restartPolicy: Sometimes}}", "$.spec.restartPolicy"),
        ("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: x}}", "$.clusterIP"),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 99999}]}}",
            "$.spec.ports[0].port",
        ),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: ../x}]}}", "containers[0].name"),
        ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: -1}}", "$.spec.replicas"),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, "
            "spec: {replicas: 1000000, template: {spec: {containers: [{name: a}]}}}}",
            "at most 250 replicas, since all run on this machine - at `$.spec.replicas`",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {smeagol.dev/exclude-inbound-ports: http}}, "
            "spec: {containers: [{name: a}]}}",
            "a list of ports, as in '9090,9091' - at `$.metadata.annotations[smeagol.dev/exclude-inbound-ports]`",
        ),
        ("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}", "$.spec.containers"),
        ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}", "$.spec.template.spec.containers"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: x}, {name: x}]}}",
            "$.spec.containers[1].name",
        ),
        (
            '{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: x, workingDir: "a\\0b"}]}}',
            "$.spec.containers[0].workingDir",
        ),
        (
            '{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostname: "a b", containers: [{name: x}]}}',
            "$.spec.hostname",
        ),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, endpoints: [{addresses: []}]}",
            "$.endpoints[0].addresses",
        ),
        ("{apiVersion: v1, kind: Service, metadata: {name: %s}}" % ("a" * 64), "metadata.name"),
        ("{apiVersion: v1, kind: Service, metadata: {name: 1a}}", "metadata.name"),
        ("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b.c}}", "metadata.namespace"),
    ],
)
def test_values_that_kubernetes_refuses_are_refused_with_their_place(
    reader: FolderReader, tmp_path: Path, text: str, place: str
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    folder = reader.scan()
    assert folder.core == {}
    assert place in str(folder.problems[0])


def test_a_folder_that_goes_away_takes_nothing_along(reader: FolderReader, tmp_path: Path) -> None:
    """It may be on its way to be replaced, as by `git` or an editor; that it is not there is said."""
    root = tmp_path / "mesh"
    root.mkdir()
    (root / "a.yaml").write_text(CANARY % 1)
    reader = FolderReader(root)
    reader.scan()
    root.rename(tmp_path / "elsewhere")
    gone = reader.scan()
    assert weight(gone) == 1000
    assert "No such file" in str(gone.problems[0])
    (tmp_path / "elsewhere").rename(root)
    assert reader.scan().problems == ()


def test_a_file_whose_name_is_not_text_is_reported_and_no_other_lost(reader: FolderReader, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CANARY % 1)
    (tmp_path / os.fsdecode(b"b\xff.yaml")).write_text(POD)
    folder = reader.scan()
    assert set(folder.smi) == {WEB}
    assert folder.core == {}
    assert "not text" in str(folder.problems[0])
    str(folder.problems[0]).encode()


@pytest.mark.parametrize("aside", ["node_modules", ".venv", "state"])
def test_folders_of_tools_and_of_the_mesh_itself_hold_no_manifests(tmp_path: Path, aside: str) -> None:
    """`smeagol up` in a project, with `--state-dir .`: the authority's keys are JSON, and no manifest."""
    (tmp_path / aside).mkdir()
    (tmp_path / aside / "a.json").write_text("{}")
    assert FolderReader(tmp_path, without=tmp_path / "state").scan() == Folder()
