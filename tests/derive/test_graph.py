"""What each kind of collection gives, what a settle reports, and which mistakes are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from smeagol.derive import Collection, Failure, Graph, GraphError, Reader, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    apps: tuple[str, ...]
    ip: str


def texts(graph: Graph, name: str = "texts") -> Source[str, str]:
    return graph.source(name)


def numbers(graph: Graph, name: str = "numbers") -> Source[str, int]:
    return graph.source(name)


class TestSources:
    """Inputs are whole states; what counts is how they differ from the last settle."""

    def test_an_edit_shows_at_once_and_is_reported_by_the_next_settle(self) -> None:
        graph = Graph()
        source = numbers(graph)
        source.set("a", 1)
        assert source.get("a") == 1
        assert graph.settle()[source] == {"a"}
        assert graph.settle()[source] == frozenset()

    def test_an_equal_value_is_no_change_and_keeps_the_old_object(self) -> None:
        graph = Graph()
        pods: Source[str, Pod] = graph.source("pods")
        first, second = Pod(apps=("web",), ip="10.0.0.1"), Pod(apps=("web",), ip="10.0.0.1")
        pods.set("a", first)
        graph.settle()
        pods.set("a", second)
        assert not graph.settle()
        assert pods.get("a") is first

    def test_there_and_back_between_two_settles_is_no_change(self) -> None:
        graph = Graph()
        source = numbers(graph)
        source.set("a", 1)
        graph.settle()
        source.set("a", 2)
        source.set("a", 1)
        source.set("b", 1)
        source.delete("b")
        assert not graph.settle()

    def test_deleting_what_is_absent_is_no_change(self) -> None:
        graph = Graph()
        numbers(graph).delete("a")
        assert not graph.settle()

    def test_update_sets_and_deletes_and_leaves_the_rest(self) -> None:
        graph = Graph()
        source = numbers(graph)
        source.replace({"a": 1, "b": 2, "c": 3})
        graph.settle()
        source.update({"a": 10, "b": None, "c": 3, "d": 4, "e": None})
        assert dict(source.items()) == {"a": 10, "c": 3, "d": 4}
        assert graph.settle()[source] == {"a", "b", "d"}

    def test_replace_makes_its_argument_the_whole_content_and_reports_the_difference(self) -> None:
        """A relist leads to the same state as the events it stands for."""
        graph = Graph()
        source = numbers(graph)
        source.replace({"gone": 1, "same": 2, "new value": 3})
        graph.settle()
        source.replace({"same": 2, "new value": 4, "added": 5})
        assert graph.settle()[source] == {"gone", "new value", "added"}
        assert source.items() == (("added", 5), ("new value", 4), ("same", 2))


class TestKinds:
    """Each way to derive a collection."""

    def test_map_gives_one_value_per_key_and_none_for_no_entry(self) -> None:
        graph = Graph()
        source = numbers(graph)
        halves = graph.map("halves", source, lambda _key, value, _read: value // 2 if value % 2 == 0 else None)
        source.replace({"even": 4, "odd": 3})
        graph.settle()
        assert halves.items() == (("even", 2),)
        assert "odd" not in halves
        assert len(halves) == 1
        source.replace({"even": 5, "odd": 6})
        assert graph.settle()[halves] == {"even", "odd"}
        assert halves.items() == (("odd", 3),)

    def test_group_lists_members_in_order_and_drops_empty_groups(self) -> None:
        graph = Graph()
        pods: Source[str, Pod] = graph.source("pods")
        by_app = graph.group("pods by app", pods, lambda _key, pod: pod.apps)
        pods.set("b", Pod(apps=("web", "all", "web"), ip="2"))
        pods.set("a", Pod(apps=("web",), ip="1"))
        graph.settle()
        assert by_app.items() == (("all", ("b",)), ("web", ("a", "b")))
        pods.set("b", Pod(apps=("api",), ip="2"))
        assert graph.settle()[by_app] == {"all", "web", "api"}
        assert by_app.items() == (("api", ("b",)), ("web", ("a",)))

    def test_a_member_that_changes_without_moving_leaves_its_groups_alone(self) -> None:
        graph = Graph()
        pods: Source[str, Pod] = graph.source("pods")
        by_app = graph.group("pods by app", pods, lambda _key, pod: pod.apps)
        pods.set("a", Pod(apps=("web",), ip="1"))
        graph.settle()
        pods.set("a", Pod(apps=("web",), ip="2"))
        assert by_app not in graph.settle()

    def test_flatten_gives_any_number_of_entries_per_key(self) -> None:
        graph = Graph()
        source = numbers(graph)
        parts = graph.flatten("parts", source, lambda key, value, _read: {(key, i): i for i in range(value)})
        source.set("a", 2)
        source.set("b", 1)
        graph.settle()
        assert parts.keys() == (("a", 0), ("a", 1), ("b", 0))
        source.set("a", 1)
        assert graph.settle()[parts] == {("a", 1)}

    def test_the_smallest_of_two_owners_wins_whatever_came_first(self) -> None:
        """Two owners of one key: the smallest owner's value stands, and the clash is there to be reported."""
        graph = Graph()
        source = texts(graph)
        upper = graph.flatten("by letter", source, lambda key, value, _read: dict.fromkeys(value, key))
        source.set("b", "xy")
        graph.settle()
        assert not graph.clashes
        source.set("a", "x")
        source.set("c", "x")
        assert graph.settle()[upper] == {"x"}
        assert upper.items() == (("x", "a"), ("y", "b"))
        assert [(clash.collection, clash.key, clash.owners) for clash in graph.clashes] == [
            (upper, "x", ("a", "b", "c"))
        ]
        source.delete("a")
        assert graph.settle()[upper] == {"x"}
        assert upper.get("x") == "b"
        source.delete("b")
        source.delete("c")
        assert graph.settle()[upper] == {"x", "y"}
        assert len(upper) == 0
        assert not graph.clashes

    def test_join_prefers_the_collection_named_first(self) -> None:
        graph = Graph()
        one, two = numbers(graph, "one"), numbers(graph, "two")
        both = graph.join("both", one, two)
        one.set("a", 1)
        two.replace({"a": 2, "b": 2})
        graph.settle()
        assert both.items() == (("a", 1), ("b", 2))
        assert [(clash.key, clash.owners) for clash in graph.clashes] == [("a", ("one", "two"))]
        one.delete("a")
        graph.settle()
        assert both.get("a") == 2
        assert not graph.clashes

    def test_value_is_a_single_value_computed_from_reads(self) -> None:
        graph = Graph()
        source = numbers(graph)
        total = graph.value("total", lambda read: sum(value for _, value in read.items(source)) or None)
        graph.settle()
        assert total.get(None) is None
        source.replace({"a": 1, "b": 2})
        assert graph.settle()[total] == {None}
        assert total.items() == ((None, 3),)

    def test_a_single_value_can_be_flattened_and_grouped(self) -> None:
        graph = Graph()
        source = texts(graph)
        word = graph.value("word", lambda read: read.get(source, "word"))
        letters = graph.flatten("letters", word, lambda _key, value, _read: dict.fromkeys(value, True))
        lengths = graph.group("lengths", word, lambda _key, value: (len(value),))
        for text, expected in (("ab", ("a", "b")), ("b", ("b",))):
            source.set("word", text)
            graph.settle()
            assert letters.keys() == expected
            assert lengths.items() == ((len(text), (None,)),)
        source.delete("word")
        graph.settle()
        assert not letters.keys()
        assert not lengths.keys()

    def test_a_collection_added_later_has_its_values_after_the_next_settle(self) -> None:
        graph = Graph()
        source = numbers(graph)
        source.set("a", 1)
        graph.settle()
        doubled = graph.map("doubled", source, lambda _key, value, _read: value * 2)
        both = graph.join("both", source, doubled)
        changes = graph.settle()
        assert source not in changes
        assert changes[doubled] == changes[both] == {"a"}
        assert doubled.get("a") == 2

    def test_listings_do_not_depend_on_the_order_of_arrival(self) -> None:
        seen = []
        for keys in ("abc", "cab"):
            graph = Graph()
            source = numbers(graph)
            listing = graph.value("listing", lambda read, source=source: (read.keys(source), read.items(source)))  # type: ignore[misc]  # the default binds the loop's source
            for key in keys:
                source.set(key, 1)
            graph.settle()
            seen.append(listing.get(None))
        assert seen[0] == seen[1] == (("a", "b", "c"), (("a", 1), ("b", 1), ("c", 1)))


class TestFailures:
    """A function that raises stops nobody else."""

    @staticmethod
    def reciprocals(graph: Graph, source: Source[str, int]) -> Collection[str, float]:
        return graph.map("reciprocals", source, lambda _key, value, _read: 1 / value)

    def test_the_failing_key_has_no_value_and_others_have(self) -> None:
        graph = Graph()
        source = numbers(graph)
        reciprocals = self.reciprocals(graph, source)
        source.replace({"good": 2, "bad": 4})
        graph.settle()
        source.set("bad", 0)
        changes = graph.settle()
        assert changes[reciprocals] == {"bad"}
        assert reciprocals.items() == (("good", 0.5),)
        assert isinstance(reciprocals.errors["bad"], ZeroDivisionError)
        assert changes.failures == graph.failures == (Failure(reciprocals, "bad", reciprocals.errors["bad"]),)

    def test_it_is_tried_again_when_its_inputs_change(self) -> None:
        graph = Graph()
        source = numbers(graph)
        reciprocals = self.reciprocals(graph, source)
        source.set("a", 0)
        graph.settle()
        source.set("a", 1)
        changes = graph.settle()
        assert reciprocals.get("a") == 1
        assert not graph.failures
        assert [failure.key for failure in changes.recovered] == ["a"]

    def test_it_is_tried_again_when_something_it_read_before_failing_changes(self) -> None:
        graph = Graph()
        source, divisors = numbers(graph), numbers(graph, "divisors")

        def divided(key: str, value: int, read: Reader) -> float:
            return value / (read.get(divisors, key) or 0)

        quotients = graph.map("quotients", source, divided)
        source.set("a", 6)
        graph.settle()
        assert "a" in quotients.errors
        divisors.set("a", 3)
        graph.settle()
        assert quotients.get("a") == 2
        assert not quotients.errors

    def test_the_same_complaint_again_is_no_news(self) -> None:
        graph = Graph()
        source = texts(graph)

        def refuse(_key: str, value: str, _read: Reader) -> str:
            raise ValueError(value.lower())

        refused = graph.map("refused", source, refuse)
        source.set("a", "No")
        assert graph.settle().failures
        source.set("a", "NO")
        changes = graph.settle()
        assert not changes.failures
        assert not changes.recovered
        source.set("a", "never")
        assert [failure.error.args for failure in graph.settle().failures] == [("never",)]
        assert refused.recomputed == 3

    def test_a_failure_ends_with_its_key(self) -> None:
        graph = Graph()
        source = numbers(graph)
        reciprocals = self.reciprocals(graph, source)
        source.set("a", 0)
        graph.settle()
        source.delete("a")
        changes = graph.settle()
        assert [failure.key for failure in changes.recovered] == ["a"]
        assert not reciprocals.errors

    def test_a_failing_owner_gives_no_entries_and_is_in_no_group(self) -> None:
        graph = Graph()
        source = numbers(graph)
        parts = graph.flatten("parts", source, lambda key, value, _read: {key: 10 // value})
        groups = graph.group("groups", source, lambda _key, value: (10 // value,))
        source.replace({"a": 1, "b": 1})
        graph.settle()
        source.set("a", 0)
        changes = graph.settle()
        assert parts.keys() == ("b",)
        assert groups.items() == ((10, ("b",)),)
        assert [(failure.collection, failure.key) for failure in changes.failures] == [(parts, "a"), (groups, "a")]


class TestMistakes:
    """Wrong wiring is refused in words that say what to change."""

    @staticmethod
    def only_error(graph: Graph) -> str:
        graph.settle()
        (failure,) = graph.failures
        assert isinstance(failure.error, GraphError)
        return str(failure.error)

    def test_a_collection_may_not_read_one_that_was_created_after_it(self) -> None:
        graph = Graph()
        source = numbers(graph)
        later: list[Collection[str, int]] = []
        graph.map("first", source, lambda key, _value, read: read.get(later[0], key))
        later.append(graph.map("second", source, lambda _key, value, _read: value))
        source.set("a", 1)
        assert self.only_error(graph) == (
            "'first' may not read 'second': a collection reads only those created before it; create 'second' first"
        )

    def test_a_collection_may_not_read_itself(self) -> None:
        graph = Graph()
        source = numbers(graph)
        itself: list[Collection[str, int]] = []
        itself.append(graph.map("itself", source, lambda _key, _value, read: len(read.keys(itself[0]))))
        source.set("a", 1)
        assert "'itself' may not read 'itself'" in self.only_error(graph)

    def test_a_collection_may_not_be_read_past_the_reader(self) -> None:
        """A read the graph does not see would leave a stale value behind, so it is refused."""
        graph = Graph()
        source, other = numbers(graph), numbers(graph, "other")
        graph.map("blind", source, lambda key, _value, _read: other.get(key))
        source.set("a", 1)
        assert "may not look into 'other' itself; use the Reader" in self.only_error(graph)

    def test_a_function_may_not_edit_a_source_or_settle(self) -> None:
        graph = Graph()
        source = numbers(graph)
        meddler: Collection[str, None] = graph.map(
            "meddler", source, lambda key, value, _read: source.set(key, value + 1)
        )
        settler = graph.map("settler", source, lambda _key, _value, _read: len(graph.settle()))
        source.set("a", 1)
        graph.settle()
        assert "may not edit 'numbers'" in str(meddler.errors["a"])
        assert "may not settle the graph" in str(settler.errors["a"])
        assert source.get("a") == 1

    def test_a_reader_may_not_be_kept(self) -> None:
        graph = Graph()
        source = numbers(graph)
        kept: list[Reader] = []
        graph.map("keeper", source, lambda _key, _value, read: kept.append(read))
        source.set("a", 1)
        graph.settle()
        with pytest.raises(GraphError, match="kept after the call"):
            kept[0].get(source, "a")

    def test_graphs_do_not_mix(self) -> None:
        graph, other = Graph(), Graph()
        source, strange = numbers(graph), numbers(other, "strange")
        with pytest.raises(GraphError, match="another graph"):
            graph.map("mixed", strange, lambda _key, value, _read: value)
        graph.map("mixed", source, lambda key, _value, read: read.get(strange, key))
        source.set("a", 1)
        assert "'mixed' may not read 'strange': it belongs to another graph" in self.only_error(graph)

    def test_names_are_unique(self) -> None:
        graph = Graph()
        numbers(graph)
        with pytest.raises(GraphError, match="already has a collection 'numbers'"):
            numbers(graph)

    def test_a_lazy_result_is_taken_during_the_call(self) -> None:
        """A group function may be a generator; what it raises is still the business of its key."""
        graph = Graph()
        source = numbers(graph)
        groups = graph.group("groups", source, lambda _key, value: (10 // n for n in range(value, value + 2)))
        source.replace({"a": 0, "b": 1})
        graph.settle()
        assert groups.keys() == (5, 10)
        assert list(groups.errors) == ["a"]


class TestNarrative:
    """Representations tell what is there without showing values, which may be secret."""

    def test_representations(self) -> None:
        graph = Graph()
        source = texts(graph)
        lengths = graph.map("lengths", source, lambda key, _value, read: 1 // len(read.get(source, key) or ""))
        source.replace({"key": "hidden", "empty": ""})
        changes = graph.settle()
        assert repr(source) == "<Source 'texts': 2 values>"
        assert repr(lengths) == "<Collection 'lengths': 1 values, 1 failing>"
        assert repr(changes) == "<Changes: texts 2, lengths 1, 1 failing>"
        assert repr(graph) == "<Graph: 2 collections, 2 reads>"
        assert repr(graph.settle()) == "<Changes: none>"
        assert [(each.name, each.recomputed) for each in graph.collections] == [("texts", 0), ("lengths", 2)]

    def test_changes_iterate_in_order_of_creation(self) -> None:
        graph = Graph()
        source = texts(graph)
        upper = graph.map("upper", source, lambda _key, value, _read: value.upper())
        source.set("a", "x")
        changes = graph.settle()
        assert list(changes) == [source, upper]
        assert len(changes) == 2
        assert upper in changes

    def test_a_result_may_be_any_mapping(self) -> None:
        graph = Graph()
        source = texts(graph)

        def labels(_key: str, value: str, _read: Reader) -> Mapping[str, int]:
            return {letter: ord(letter) for letter in value}

        codes = graph.flatten("codes", source, labels)
        source.set("a", "AB")
        graph.settle()
        assert codes.items() == (("A", 65), ("B", 66))
