"""Reading manifests: values as Kubernetes sees them, places, and what nobody's text may do."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.api.documents import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Json, Reading, read_path, read_text, write_text
from smeagol.api.problems import Path as FieldPath


def value_of(text: str) -> Json:
    reading = read_text(text)
    assert not reading.problems
    (document,) = reading.documents
    return document.value


def code_of(reading: Reading) -> str:
    (problem,) = reading.problems
    return problem.code


class TestScalars:
    """Plain words and numbers are resolved as sigs.k8s.io/yaml v1.6 does, which kubectl uses (YAML 1.1)."""

    # Each pair was made with that library.
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("010", 8),
            ("0o17", 15),
            ("0x1F", 31),
            ("0b11", 3),
            ("-0b11", -3),
            ("+1", 1),
            ("1_000", 1000),
            ("08", 8),
            ("1e3", 1000),
            ("1E+3", 1000),
            ("1e-3", 0.001),
            (".5", 0.5),
            ("5.", 5),
            ("1.0", 1),
            ("-0.0", 0),
            ("1e400", "1e400"),
            ("yes", True),
            ("n", False),
            ("On", True),
            ("tRUE", "tRUE"),
            ("~", None),
            ("", None),
            ("2024-01-01", "2024-01-01"),
            ("12:30", "12:30"),
            ("1.2.3", "1.2.3"),
            ("0x", "0x"),
            ("'1'", "1"),
            ('"yes"', "yes"),
            ("!!str 1", "1"),
            ("! 1", "1"),
            ("!!float 1", 1),
            ("9223372036854775807", 2**63 - 1),
            ("9223372036854775808", float(2**63)),
            ("50%", "50%"),
        ],
    )
    def test_as_kubernetes(self, text: str, value: Json) -> None:
        read = value_of(f"k: {text}\n")
        assert read == {"k": value}
        assert isinstance(read, dict)
        assert type(read["k"]) is type(value)

    @pytest.mark.parametrize(("key", "read"), [("1", "1"), ("yes", "true"), ("010", "8"), ("'010'", "010")])
    def test_keys_are_text(self, key: str, read: str) -> None:
        assert value_of(f"{key}: v\n") == {read: "v"}

    def test_json_is_read_as_json(self) -> None:
        """With surrogate pairs, which YAML does not have, and half of one, which Go replaces."""
        assert value_of('{"a": "\\ud83d\\ude00", "b": 1e3, "c": "\\ud83d"}') == {"a": "😀", "b": 1000, "c": "\ufffd"}

    def test_merge_keys(self) -> None:
        """`<<` is common in hand-written manifests. What is written out wins."""
        text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nboth: {<<: [*base, {a: 9, c: 4}]}\n"
        assert value_of(text) == {"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}, "both": {"a": 1, "b": 2, "c": 4}}


class TestDocuments:
    def test_empty_ones_are_left_out(self) -> None:
        assert [document.value for document in read_text("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n").documents] == [
            {"a": 1},
            {"b": 2},
        ]

    def test_lists_are_their_items(self) -> None:
        """`kubectl get -o yaml` prints a List; it is read as what it holds."""
        reading = read_text("kind: List\nitems:\n- a: 1\n- b: 2\n")
        assert [(document.value, document.place.line) for document in reading.documents] == [
            ({"a": 1}, 3),
            ({"b": 2}, 4),
        ]

    @pytest.mark.parametrize(
        ("broken", "code", "line"),
        [
            ("b: [", "SMI-F003", 4),
            ('b: "open\nand on', "SMI-F003", 5),
            ("b: 1\nb: 2", "SMI-F004", 4),
            ("b: .inf\nx: y", "SMI-F003", 3),
            ("--- {b: c: d}", "SMI-F003", 3),
            ("b: *nobody", "SMI-F003", 3),
        ],
    )
    def test_one_that_is_no_yaml_hides_no_other(self, broken: str, code: str, line: int) -> None:
        """Those before and after it are read, in their places, and each mistake is told once."""
        reading = read_text(f"a: 1\n---\n{broken}\n---\nc: 3\n---\n{broken}\n--- # after\nd: 4\n")
        assert [document.value for document in reading.documents] == [{"a": 1}, {"c": 3}, {"d": 4}]
        further = broken.count("\n")
        assert [document.place.line for document in reading.documents] == [1, 5 + further, 9 + 2 * further]
        first, second = reading.problems
        assert (first.code, first.place.line) == (code, line)
        assert (second.code, second.place.line) == (code, line + 4 + further)

    def test_of_many_that_are_broken_some_are_told(self) -> None:
        """And that the rest is not read; the values of all are counted together."""
        reading = read_text("--- [a\n" * 100_000)
        assert len(reading.problems) == 21
        assert "the rest is not read" in str(reading.problems[-1])
        quarter = "---\n[" + "x, " * (MAX_VALUES // 4) + "]\n---\nb: [\n"
        assert [problem.code for problem in read_text(quarter * 4).problems] == ["SMI-F003"] * 3 + ["SMI-F006"]

    @pytest.mark.parametrize(
        ("path", "line"),
        [((), 2), (("spec",), 4), (("spec", "list", 1), 7), (("spec", "list", 1, "deep"), 8), (("spec", "missing"), 4)],
    )
    def test_places(self, path: FieldPath, line: int) -> None:
        """Each field has its line; what is missing has that of what should hold it."""
        text = "---\nkind: x\n# comment\nspec:\n  list:\n  - a\n  - first: 1\n    deep: 2\n"
        (document,) = read_text(text, file="a.yaml").documents
        assert (document.place_of(path).file, document.place_of(path).line) == ("a.yaml", line)

    def test_folders(self, tmp_path: Path) -> None:
        """All manifests below a folder, in the order of their names; other files are none of ours."""
        (tmp_path / "sub").mkdir()
        for name, text in (("b.yaml", "b: 1"), ("a.yml", "a: 1"), ("sub/c.json", '{"c": 1}'), ("readme.md", "x: [")):
            (tmp_path / name).write_text(text, encoding="utf-8")
        assert [document.value for document in read_path(tmp_path).documents] == [{"a": 1}, {"b": 1}, {"c": 1}]

    def test_unreadable_file(self, tmp_path: Path) -> None:
        assert code_of(read_path(tmp_path / "none.yaml")) == "SMI-F001"


class TestRefused:
    """What readers disagree on, or what has no meaning in Kubernetes, is refused with its line."""

    @pytest.mark.parametrize(
        ("text", "code", "line"),
        [
            ("a: 1\nb: 2\na: 3\n", "SMI-F004", 3),
            ("x:\n  a: 1\n  'a': 3\n", "SMI-F004", 3),
            ('{"a": 1,\n"a": 2}', "SMI-F004", 2),
            ("a: b: c\n", "SMI-F003", 1),
            ("a:\n\tb: 1\n", "SMI-F003", 2),
            ("a: *nowhere\n", "SMI-F003", 1),
            ("a: &a [*a]\n", "SMI-F003", 1),
            ("? [1]\n: 2\n", "SMI-F003", 1),
            ("1.5: x\n", "SMI-F003", 1),
            ("a: .nan\n", "SMI-F003", 1),
            ("a: !!binary aGk=\n", "SMI-F003", 1),
            ("a: !!python/object/apply:os.system [id]\n", "SMI-F003", 1),
            ("a: !!int x\n", "SMI-F003", 1),
            ("a: !!map x\n", "SMI-F003", 1),
            ("a: !!str [x]\n", "SMI-F003", 1),
            ("a: 1\nb: \x07\n", "SMI-F003", 2),
            ("<<: 5\n", "SMI-F003", 1),
        ],
    )
    def test_with_its_line(self, text: str, code: str, line: int) -> None:
        (problem,) = read_text(text).problems
        assert (problem.code, problem.place.line) == (code, line)
        assert problem.fix

    def test_not_utf8(self) -> None:
        (problem,) = read_text(b"a: 1\nb: \xff\n").problems
        assert (problem.code, problem.place.line) == ("SMI-F003", 2)


def bomb() -> str:
    """Nine times nine times nine … values in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 20)]
    return "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a0: &a0 {" + ", ".join(f"k{key}: 1" for key in range(100)) + "}"]
    lines += [
        f"a{level}: &a{level} {{x: *a{level - 1}, y: *a{level - 1}, <<: *a{level - 1}}}" for level in range(1, 40)
    ]
    return "\n".join(lines)


HOSTILE: dict[str, Callable[[], str | bytes]] = {
    "100 MB": lambda: b"x" * 100_000_000,
    "alias bomb": bomb,
    "merge bomb": merge_bomb,
    "deep flow": lambda: "[" * (MAX_BYTES - 1),
    "deep mapping": lambda: '{"a":' * 500_000,
    "deep block": lambda: "- " * 1_000_000 + "a",
    "deep indentation": lambda: "\n".join(" " * level + "a:" for level in range(2000)),
    "deep JSON": lambda: '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "many items": lambda: "- a\n" * 1_000_000,
    "many documents": lambda: "a: 1\n---\n" * 400_000,
    "long number": lambda: "{" + '"a": ' + "9" * 3_000_000 + ", b: [" + "9" * 4301,
    "question marks": lambda: "? " * 1_000_000,
    "anchors": lambda: "&a " * 1_000_000,
    "open quote": lambda: 'a: "' + "\\n" * 1_500_000,
    "control characters": lambda: "a: \x00\x01\x02",
    "directives": lambda: "%TAG !a! b\n" * 300_000,
}


class TestHostile:
    """Whatever the text, the answer is quick, small, and a problem with a cure, never an exception."""

    @pytest.mark.parametrize("name", HOSTILE)
    def test_bounded_time(self, name: str) -> None:
        text = HOSTILE[name]()
        started = time.process_time()
        reading = read_text(text)
        assert time.process_time() - started < 30
        (problem,) = reading.problems
        assert problem.fix
        assert len(str(problem)) < 500

    @pytest.mark.parametrize("name", ["100 MB", "alias bomb", "merge bomb", "deep flow"])
    def test_bounded_memory(self, name: str) -> None:
        text = HOSTILE[name]()
        tracemalloc.start()
        try:
            read_text(text)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 150 * 2**20

    def test_endless_file(self) -> None:
        """No more is read of a file than its limit."""
        assert code_of(read_path(Path("/dev/zero"))) == "SMI-F002"

    def test_nesting_up_to_the_limit_is_read(self) -> None:
        assert read_text("[" * MAX_DEPTH + "]" * MAX_DEPTH).problems == ()
        assert code_of(read_text("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))) == "SMI-F005"

    @given(text=st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@`?, \n\t<~01.e"), max_size=60))
    def test_any_text(self, text: str) -> None:
        for problem in read_text(text).problems:
            assert problem.code in {"SMI-F003", "SMI-F004"}

    @given(data=st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        read_text(data)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
words = st.sampled_from(["y", "no", "1e3", "010", "0o7", "~", "", "null", "1:30", "=", "<<", ".5", "1_0", "2024-01-01"])
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | words, inner, max_size=4),
    max_leaves=12,
)


class TestWriting:
    @given(value=st.dictionaries(texts | words, values, min_size=1, max_size=4))
    def test_reads_back_as_the_same(self, value: dict[str, Json]) -> None:
        """What `convert` prints means what it meant, whatever words are in it."""
        assert value_of(write_text(value)) == value

    @given(value=st.dictionaries(texts, values, min_size=1, max_size=4))
    def test_json_reads_as_itself(self, value: dict[str, Json]) -> None:
        assert value_of(json.dumps(value)) == value
