"""The one property that matters: after any history, the graph holds what a computation from scratch would give."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from smeagol.derive import Changes, Collection, Graph, Reader, Source

Contents = dict[str, dict[Hashable, object]]
"""Values by collection and key."""

KEYS = st.sampled_from("abcd")
WORDS = st.text("abcd", max_size=3)
NUMBERS = st.integers(0, 3)


class World:
    """Every kind of collection, in chains and diamonds, with absent reads and functions that raise.

    `words` name keys of other collections; `numbers` divide, so that zero raises; `more` is joined to `numbers`.
    """

    def __init__(self) -> None:
        graph = self.graph = Graph()
        self.words: Source[str, str] = graph.source("words")
        self.numbers: Source[str, int] = graph.source("numbers")
        self.more: Source[str, int] = graph.source("more")
        self.joined = graph.join("joined", self.numbers, self.more)
        self.by_letter = graph.group("by letter", self.words, lambda _key, word: word)
        self.by_quotient = graph.group("by quotient", self.joined, lambda _key, number: (6 // number,))
        self.sums = graph.map("sums", self.words, self._sum)
        self.quotients = graph.map("quotients", self.sums, lambda _key, total, _read: 12 // total)
        self.letters = graph.flatten("letters", self.words, self._letters)
        self.census = graph.value("census", self._census)
        self.diamond = graph.map("diamond", self.letters, self._diamond)
        self.everything = graph.value("everything", lambda read: (read.items(self.diamond), read.keys(self.quotients)))

    def _sum(self, key: str, word: str, read: Reader) -> int | None:
        """The numbers that the word's letters name; absent ones are skipped, and no number at all gives no entry."""
        found = [number for letter in word if (number := read.get(self.joined, letter)) is not None]
        return sum(found) if found else None

    def _letters(self, key: str, word: str, read: Reader) -> Mapping[str, tuple[str, int | None]]:
        """An entry for each letter: many owners of one key; the owner `d` raises where it finds a zero."""
        if key == "d" and read.get(self.numbers, "d") == 0:
            raise ValueError(word)
        return {letter: (key, read.get(self.quotients, key)) for letter in word}

    def _census(self, read: Reader) -> int:
        return len(read.keys(self.by_letter)) // len(read.keys(self.more))

    def _diamond(self, key: str, owner: tuple[str, int | None], read: Reader) -> tuple[Hashable, ...]:
        members = tuple(read.get(self.by_letter, key) or ())
        return (*owner, members, read.get(self.census, None), read.get(self.by_quotient, 3), read.get(self.sums, key))

    def contents(self) -> Contents:
        return {
            collection.name: dict(collection.items())
            for collection in self.graph.collections
            if isinstance(collection, Collection)
        }


def from_scratch(words: Mapping[str, str], numbers: Mapping[str, int], more: Mapping[str, int]) -> Contents:
    """The same world in plain words: no graph, no memory."""
    joined = {**more, **numbers}
    by_letter = {x: tuple(sorted(k for k in words if x in words[k])) for x in "abcd" if x in "".join(words.values())}
    dividing = {key: 6 // number for key, number in joined.items() if number}
    by_quotient = {n: tuple(sorted(k for k in dividing if dividing[k] == n)) for n in dividing.values()}
    sums = {k: sum(joined.get(x, 0) for x in word) for k, word in words.items() if any(x in joined for x in word)}
    quotients = {key: 12 // total for key, total in sums.items() if total}
    speaking = {key: word for key, word in words.items() if not (key == "d" and numbers.get("d") == 0)}
    first = {x: min(k for k in speaking if x in speaking[k]) for x in "abcd" if x in "".join(speaking.values())}
    letters = {letter: (key, quotients.get(key)) for letter, key in first.items()}
    census = {None: len(by_letter) // len(more)} if more else {}
    diamond = {
        letter: (*owner, by_letter.get(letter, ()), census.get(None), by_quotient.get(3), sums.get(letter))
        for letter, owner in letters.items()
    }
    everything = {None: (tuple(sorted(diamond.items())), tuple(sorted(quotients)))}
    contents: dict[str, Mapping[str, object] | Mapping[int, object] | Mapping[None, object]] = {
        "words": words,
        "numbers": numbers,
        "more": more,
        "joined": joined,
        "by letter": by_letter,
        "by quotient": by_quotient,
        "sums": sums,
        "quotients": quotients,
        "letters": letters,
        "census": census,
        "diamond": diamond,
        "everything": everything,
    }
    return {name: {key: value for key, value in values.items()} for name, values in contents.items()}  # noqa: C416  # widens


def failing_from_scratch(words: Mapping[str, str], numbers: Mapping[str, int], more: Mapping[str, int]) -> set[object]:
    joined = {**more, **numbers}
    failing: set[object] = {("by quotient", key) for key, number in joined.items() if not number}
    failing |= {("quotients", k) for k, total in from_scratch(words, numbers, more)["sums"].items() if not total}
    failing |= {("letters", key) for key in words if key == "d" and numbers.get("d") == 0}
    return failing | ({("census", None)} if not more else set())


@dataclass(frozen=True)
class Edit:
    """One step of a history: give `key` a value (None deletes), or make `whole` the content of a source."""

    source: str
    key: str = ""
    value: str | int | None = None
    whole: Mapping[str, str] | Mapping[str, int] | None = None


def _edits(source: str, values: st.SearchStrategy[str] | st.SearchStrategy[int]) -> st.SearchStrategy[Edit]:
    return st.one_of(
        st.builds(Edit, st.just(source), KEYS, st.one_of(values, values, st.none())),
        st.builds(Edit, st.just(source), whole=st.dictionaries(KEYS, values, max_size=4)),
    )


Batch = list[Edit]
"""The edits between two settles."""

EDITS = st.one_of(_edits("words", WORDS), _edits("numbers", NUMBERS), _edits("more", NUMBERS))
HISTORIES = st.lists(st.lists(EDITS, max_size=3), max_size=15)


def carry_out(edit: Edit, world: World, plain: Mapping[str, dict[str, object]]) -> None:
    source: Source[str, object] = getattr(world, edit.source)
    if edit.whole is not None:
        source.replace(dict(edit.whole))
        plain[edit.source].clear()
        plain[edit.source].update(edit.whole)
    elif edit.value is None:
        source.delete(edit.key)
        plain[edit.source].pop(edit.key, None)
    else:
        source.set(edit.key, edit.value)
        plain[edit.source][edit.key] = edit.value


def difference(before: Contents, after: Contents) -> dict[str, set[Hashable]]:
    changed = {
        name: {k for k in before[name].keys() | after[name].keys() if before[name].get(k) != after[name].get(k)}
        for name in after
    }
    return {name: keys for name, keys in changed.items() if keys}


def reported(changes: Changes) -> dict[str, set[Hashable]]:
    return {each.name: set(changes[each]) for each in changes if isinstance(each, Collection)}


@settings(max_examples=300)
@given(HISTORIES)
def test_any_history_ends_in_what_its_end_would_give_from_scratch(history: list[Batch]) -> None:
    """Values and failures depend on the inputs alone, and each settle reports exactly the difference it made."""
    world = World()
    words: dict[str, str] = {}
    numbers: dict[str, int] = {}
    more: dict[str, int] = {}
    plain: dict[str, dict[str, object]] = {"words": words, "numbers": numbers, "more": more}  # type: ignore[dict-item]  # one shelf for three types
    settled = world.contents()
    failing: set[object] = set()
    for batch in history:
        for edit in batch:
            carry_out(edit, world, plain)
        changes = world.graph.settle()
        now = world.contents()
        assert now == from_scratch(words, numbers, more)
        assert reported(changes) == difference(settled, now)
        now_failing = {(failure.collection.name, failure.key) for failure in world.graph.failures}
        assert now_failing == failing_from_scratch(words, numbers, more)
        assert {(each.collection.name, each.key) for each in changes.recovered} == failing - now_failing
        assert {(each.collection.name, each.key) for each in changes.failures} >= now_failing - failing
        settled, failing = now, set(now_failing)


@settings(max_examples=100)
@given(HISTORIES)
def test_any_history_leaves_what_a_new_graph_has(history: list[Batch]) -> None:
    """Clashes, failures, listings and the dependencies kept are those of a graph that saw only the end."""
    lived, fresh = World(), World()
    plain: dict[str, dict[str, object]] = {"words": {}, "numbers": {}, "more": {}}
    for batch in history:
        for edit in batch:
            carry_out(edit, lived, plain)
        lived.graph.settle()
    for name, contents in plain.items():
        getattr(fresh, name).replace(contents)
    lived.graph.settle()
    fresh.graph.settle()
    assert _remains(lived) == _remains(fresh)


def _remains(world: World) -> tuple[object, ...]:
    graph = world.graph
    return (
        [(each.name, each.items()) for each in graph.collections if isinstance(each, Collection)],
        [(clash.collection.name, clash.key, clash.owners) for clash in graph.clashes],
        [(failure.collection.name, failure.key, repr(failure.error)) for failure in graph.failures],
        graph._reads._spots,
        graph._reads._readers,
    )
