"""What every view store must do: subclass `ViewsConformance` in a test module, give `open_views`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usance.engine.projections.projection import (
    STALE,
    Changes,
    Checkpoint,
    Column,
    Generation,
    Key,
    Move,
    Parked,
    Projection,
    Row,
    Scalar,
    Table,
    Write,
    numbers,
    texts,
)
from usance.engine.projections.reading import Order, Views, Where
from usance.kernel.errors import Fenced, NotFound, Tampered, Unavailable
from usance.log.contract import TopicPartition

PLACE = TopicPartition("usance.trade.events", 0)
OTHER = TopicPartition("usance.trade.events", 1)
THINGS = Table("things", (*texts("name"), *numbers("size")), ("name",), (("size",),), "name")
SECRETS = Table("secrets", texts("name"), ("name",), restricted=True)
VIEW = Projection("things", 1, (THINGS, SECRETS), {})
WIDE = Table(
    "wide",
    (*texts("owner"), *numbers("n"), *texts("word"), Column("due", "integer", None)),
    ("owner", "n"),
)
WIDES = Projection("wides", 1, (WIDE,), {})

words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(["NULL", "\\N", "{}", '"', "\\", "a\tb\nc\rd", "%s?", "'", "é", "É", ","])
rows_of_wide = st.dictionaries(
    st.tuples(words, st.integers(-(2**63), 2**63 - 1)),
    st.tuples(words, st.none() | st.integers(-5, 5)),
    max_size=12,
)


def written(
    generation: Generation, rows: list[tuple[str, int]], *, to: int, start: int = 0
) -> Changes:
    """Return the changes of a batch that writes `things` and moves one checkpoint."""
    full: list[tuple[Scalar, ...]] = [(*row, None) for row in rows]
    moves = [Move(PLACE, start, Checkpoint(to, to))]
    return Changes(generation, [Write(THINGS, full, [])], moves, [])


def names(store: Views) -> list[str]:
    """Return the names of all things, in order."""
    with store.reading() as reading:
        return [row["name"] for row in reading.select("things", (), (Order("name"),))]


class ViewsConformance:
    """The contract as tests; each is a promise of `engine.projection.ViewStore` or `engine.reading`."""

    def open_views(self, address: str) -> Views:
        """Return a store of the kind under test at an address, another one each time."""
        raise NotImplementedError

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        """Return where nothing is yet."""
        return str(tmp_path / "views.sqlite")

    @pytest.fixture
    def store(self, address: str) -> Iterator[Views]:
        """Return an empty store that is bound to a log."""
        store = self.open_views(address)
        store.open("log-1")
        yield store
        store.close()

    # -- rows

    def test_rows_of_any_number_are_written_and_overwritten_whole(self, store: Views) -> None:
        """The first batch may take another way than later ones."""
        generation, fits = store.claim(VIEW, [PLACE])
        assert fits
        many = [(f"n{i:05d}", i) for i in range(1_337)]
        first = written(generation, many, to=10)
        store.commit([first])
        generation.checkpoints[PLACE] = first.moves[0].to
        store.commit([written(generation, [(n, s + 1) for n, s in many[:300]], to=20, start=10)])
        with store.reading() as reading:
            assert reading.count("things") == 1_337
            assert reading.get("things", name="n00007") == {
                "name": "n00007",
                "size": 8,
                STALE: None,
            }
            large = reading.select("things", (Where("size", ">=", 1_336),))
            assert [row["name"] for row in large] == ["n01336"]

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(batches=st.lists(st.tuples(rows_of_wide, st.sets(st.integers(0, 9))), max_size=4))
    def test_what_is_written_is_what_is_read(
        self,
        store: Views,
        batches: list[tuple[dict[Key, Key], set[int]]],
    ) -> None:
        """Any text, any whole number, nothing at all; deleted rows are gone and may come again."""
        green = store.build(WIDES, [PLACE])
        model: dict[Key, Key] = {}
        for number, (rows, gone) in enumerate(batches):
            lost = [key for n, key in enumerate(model) if n in gone and key not in rows]
            write = Write(WIDE, [(*k, *v, None) for k, v in rows.items()], lost)
            move = Move(PLACE, number, Checkpoint(number + 1, 0))
            store.commit([Changes(green, [write], [move], [])])
            green.checkpoints[PLACE] = move.to
            model = {k: v for k, v in (model | rows).items() if k not in lost}
            found = store.fetch(green, WIDE, [*model, ("nobody", 0)])
            assert {(r["owner"], r["n"]): (r["word"], r["due"]) for r in found} == model
            assert store.fetch(green, WIDE, []) == []
        store.drop(green)

    def test_text_that_holds_nul_is_found_under_its_key(self, store: Views) -> None:
        """Some databases have no place for it; nothing may stop on it."""
        generation, _ = store.claim(WIDES, [PLACE])
        key = ("a\0b", 1)
        first = Changes(
            generation,
            [Write(WIDE, [(*key, "x\0", None, None)], [])],
            [Move(PLACE, 0, Checkpoint(1, 1))],
            [],
        )
        store.commit([first])
        assert [(r["owner"], r["n"]) for r in store.fetch(generation, WIDE, [key])] == [key]
        generation.checkpoints[PLACE] = Checkpoint(1, 1)
        gone = Changes(generation, [Write(WIDE, [], [key])], [Move(PLACE, 1, Checkpoint(2, 2))], [])
        store.commit([gone])
        assert store.fetch(generation, WIDE, [key]) == []

    # -- checkpoints

    def test_a_checkpoint_that_moved_rolls_back_every_generation_of_the_batch(
        self, store: Views
    ) -> None:
        """Compare-and-set: position and epoch, or nothing at all."""
        other = VIEW._replace(name="others", tables=(THINGS._replace(name="others"),))
        one, _ = store.claim(VIEW, [PLACE])
        two, _ = store.claim(other, [PLACE])
        store.claim(other, [PLACE])  # somebody else takes the second one over
        late = Changes(two, [], [Move(PLACE, 0, Checkpoint(5, 5))], [])
        with pytest.raises(Fenced):
            store.commit([written(one, [("a", 1)], to=5), late])
        assert names(store) == []
        with store.reading() as reading:
            assert reading.checkpoints()["things"][PLACE] == Checkpoint(0, 0)
        with pytest.raises(Fenced):
            store.commit([written(one, [("a", 1)], to=9, start=3)])

    def test_one_wrong_checkpoint_of_many_fences_all(self, store: Views) -> None:
        """Each must be where it was read."""
        generation, _ = store.claim(VIEW, [PLACE, OTHER])
        moves = [Move(PLACE, 0, Checkpoint(3, 3)), Move(OTHER, 1, Checkpoint(2, 2))]
        with pytest.raises(Fenced):
            store.commit([Changes(generation, [], moves, [])])
        store.commit([Changes(generation, [], [moves[0], moves[1]._replace(start=0)], [])])
        again, _ = store.claim(VIEW, [PLACE, OTHER])
        assert again.checkpoints == {PLACE: Checkpoint(3, 3), OTHER: Checkpoint(2, 2)}
        assert again.epoch == generation.epoch + 1

    def test_a_partition_that_joins_later_begins_at_its_start(self, store: Views) -> None:
        """And one that is known keeps its place."""
        generation, _ = store.claim(VIEW, [PLACE])
        store.commit([written(generation, [], to=7)])
        more, fits = store.claim(VIEW, [PLACE, OTHER])
        assert fits and more.checkpoints == {PLACE: Checkpoint(7, 7), OTHER: Checkpoint(0, 0)}
        store.commit([Changes(more, [], [Move(OTHER, 0, Checkpoint(1, 1))], [])])

    def test_a_parked_key_makes_its_rows_stale(self, store: Views) -> None:
        """Once: the first record that could not be taken in says since when."""
        generation, _ = store.claim(VIEW, [PLACE])
        store.commit([written(generation, [("a", 1), ("b", 1)], to=5)])
        parked = [Parked("a", PLACE, 6, "handle: KeyError", 111), Parked("a", PLACE, 7, "", 222)]
        store.commit([Changes(generation, [], [Move(PLACE, 5, Checkpoint(8, 8))], parked)])
        with store.reading() as reading:
            rows = {row["name"]: row[STALE] for row in reading.select("things")}
            held = reading.parked()
            (state,) = reading.generations()
        assert rows == {"a": 111, "b": None}
        assert [(p["key"], p["offset"], p["error"], p["since"], p["waiting"]) for p in held] == [
            ("a", 6, "handle: KeyError", 111, 1)
        ]
        assert (state["rows"], state["stale"]) == (2, 1)
        assert store.claim(VIEW, [PLACE])[0].parked == {(PLACE, "a"): 111}

    # -- generations

    def test_a_swap_waits_until_nothing_is_missing(self, store: Views) -> None:
        """Green is at or past blue on every partition, and blue's writers are fenced."""
        blue, _ = store.claim(VIEW, [PLACE])
        store.commit([written(blue, [("old", 1)], to=5)])
        green = store.build(VIEW, [PLACE])
        store.commit([written(green, [("new", 1)], to=4)])
        green.checkpoints[PLACE] = Checkpoint(4, 4)
        assert not store.swap(green), "one record behind"
        assert names(store) == ["old"]
        store.commit([written(green, [("newer", 1)], to=5, start=4)])
        assert {d.key for d in store.differences(blue, green)} == {("old",), ("new",), ("newer",)}
        assert store.swap(green)
        assert store.live("things") == green.number
        assert names(store) == ["new", "newer"]
        with pytest.raises(Fenced):
            store.commit([written(blue, [("zombie", 1)], to=6, start=5)])
        assert names(store) == ["new", "newer"]

    def test_rows_that_differ_are_told_with_both_sides(self, store: Views) -> None:
        """Staleness aside, and no more than a person can read."""
        blue, _ = store.claim(VIEW, [PLACE])
        green = store.build(VIEW, [PLACE])
        same = [(f"s{n}", n) for n in range(10)]
        store.commit([written(blue, [*same, ("a", 1), ("b", 1)], to=5)])
        store.commit([written(green, [*same, ("a", 2), ("c", 1)], to=5)])
        parked = [Parked("s1", PLACE, 6, "handle: KeyError", 111)]
        store.commit([Changes(blue, [], [Move(PLACE, 5, Checkpoint(8, 8))], parked)])
        found = {d.key[0]: (d.live, d.rebuilt) for d in store.differences(blue, green)}
        assert found == {
            "a": ({"name": "a", "size": 1, STALE: None}, {"name": "a", "size": 2, STALE: None}),
            "b": ({"name": "b", "size": 1, STALE: None}, None),
            "c": (None, {"name": "c", "size": 1, STALE: None}),
        }

    def test_a_reader_keeps_its_picture_over_a_swap(self, store: Views) -> None:
        """Its tables stay until it has done; nobody waits for it."""
        blue, _ = store.claim(VIEW, [PLACE])
        store.commit([written(blue, [("old", 1)], to=1)])
        with store.reading() as reading:
            assert reading.checkpoints()["things"][PLACE].offset == 1
            green = store.build(VIEW, [PLACE])
            store.commit([written(green, [("new", 1), ("more", 1)], to=1)])
            assert store.swap(green)
            assert names(store) == ["more", "new"], "who comes later reads what is live"
            assert [row["name"] for row in reading.select("things")] == ["old"]
        assert names(store) == ["more", "new"]

    def test_a_later_rebuild_drops_the_one_before(self, store: Views) -> None:
        """A number is never given twice."""
        store.claim(VIEW, [PLACE])
        first = store.build(VIEW, [PLACE])
        second = store.build(VIEW, [PLACE])
        assert second.number > first.number
        with pytest.raises(Fenced):
            store.swap(first)
        assert store.swap(second)
        with pytest.raises(Fenced):
            store.commit([written(first, [("a", 1)], to=5)])
        store.drop(second)
        assert names(store) == [], "what is live is not dropped"

    def test_tables_of_another_version_do_not_fit(self, store: Views) -> None:
        """Nor do those of another shape."""
        store.claim(VIEW, [PLACE])
        assert store.claim(VIEW._replace(version=2), [PLACE], look=True)[1] is False
        wider = THINGS._replace(columns=(*THINGS.columns, *numbers("weight")))
        assert store.claim(VIEW._replace(tables=(wider, SECRETS)), [PLACE], look=True)[1] is False
        assert store.claim(VIEW, [PLACE], look=True)[1]

    def test_views_are_bound_to_their_log(self, store: Views) -> None:
        """And closed ones say so."""
        store.open("log-1")
        with pytest.raises(Tampered, match="another log"):
            store.open("log-2")
        with store.reading() as reading:
            assert reading.log_id() == "log-1"
        store.close()
        with pytest.raises(Unavailable, match="closed"), store.reading():
            pass

    # -- reading

    def test_restricted_tables_are_not_there_for_those_who_may_not_see_them(
        self, store: Views
    ) -> None:
        """Not even counted."""
        store.claim(VIEW, [PLACE])
        with store.reading() as reading, pytest.raises(NotFound):
            reading.select("secrets")
        with store.reading() as reading, pytest.raises(NotFound):
            reading.count("secrets")
        with store.reading() as reading, pytest.raises(NotFound):
            reading.get("secrets", name="a")
        with store.reading(restricted=True) as reading:
            assert reading.select("secrets") == []

    def test_conditions_and_order_mean_the_same_everywhere(self, store: Views) -> None:
        """Text by its bytes, letters alike without case in ASCII alone, what is missing first."""
        generation, _ = store.claim(WIDES, [PLACE])
        rows = [
            ("a", 1, "Zebra", None), ("B", 2, "apple", 7), ("é", 3, "ÉCLAIR", 3),
            ("_", 4, "100%", None), ("a", 5, "under_score", 3), ("C", 6, "", 9),
        ]  # fmt: skip
        full: list[tuple[Scalar, ...]] = [(*row, None) for row in rows]
        move = Move(PLACE, 0, Checkpoint(1, 1))
        store.commit([Changes(generation, [Write(WIDE, full, [])], [move], [])])

        def asked(*where: Where, order: tuple[Order, ...] = ()) -> list[int]:
            with store.reading() as reading:
                return [row["n"] for row in reading.select("wide", where, order)]

        assert asked() == [2, 6, 4, 1, 5, 3], "by the key"
        assert asked(order=(Order("word"),)) == [6, 4, 1, 2, 5, 3]
        assert asked(order=(Order("due"),)) == [4, 1, 5, 3, 2, 6], "alike ones by the key"
        assert asked(order=(Order("due", down=True),)) == [6, 2, 5, 3, 4, 1]
        assert asked(Where("word", "contains", "EBR")) == [1]
        assert asked(Where("word", "contains", "éclair")) == []
        assert asked(Where("word", "contains", "%")) == [4]
        assert asked(Where("word", "contains", "r_s")) == [5]
        assert asked(Where("word", ">=", "a")) == [2, 5, 3]
        assert asked(Where("due", "!=", 3)) == [2, 6]
        assert asked(Where("due", "in", [3, 9])) == [6, 5, 3]
        assert asked(Where("owner", "not in", ["a", "é"])) == [2, 6, 4]
        assert asked(Where("owner", "in", [])) == []
        assert asked(Where("due", "not in", [])) == [2, 6, 4, 1, 5, 3]
        with store.reading() as reading:
            assert reading.count("wide", (), ("owner",)) == {"a": 2, "B": 1, "é": 1, "_": 1, "C": 1}
            assert reading.count("wide", (Where("owner", "=", "a"),), ("owner", "n")) == {
                ("a", 1): 1,
                ("a", 5): 1,
            }

    def test_pages_come_one_after_another(self, store: Views) -> None:
        """The last row of one is where the next begins, in any order."""
        generation, _ = store.claim(VIEW, [PLACE])
        store.commit([written(generation, [(f"n{i}", i % 4) for i in range(20)], to=1)])
        order = (Order("size", down=True), Order("name"))
        with store.reading() as reading:
            whole = reading.select("things", (), order)
            seen: list[Row] = []
            after: list[str | int] = []
            while page := reading.select("things", (), order, 3, after):
                seen += page
                after = [page[-1]["size"], page[-1]["name"]]
            assert seen == whole and len(whole) == 20

    def test_waiting_ends_with_the_change_that_another_store_commits(
        self, store: Views, address: str
    ) -> None:
        """A change is heard of, whoever made it; without one, time ends the waiting."""
        generation, _ = store.claim(VIEW, [PLACE])
        other = self.open_views(address)
        other.know((VIEW,))

        def there() -> bool:
            with other.reading() as reading:
                return bool(reading.count("things"))

        assert not other.wait(there, 0.02)
        writer = threading.Timer(
            0.05, lambda: store.commit([written(generation, [("a", 1)], to=1)])
        )
        writer.start()
        assert other.wait(there, 5.0)
        writer.join()
        other.close()
