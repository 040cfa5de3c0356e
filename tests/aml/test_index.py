"""The compiled snapshot: its identity, its cache, its weights."""

from pathlib import Path

import msgspec
import pytest

from usance.aml.index import weight_of
from usance.aml.list_formats import read_csv
from usance.aml.lists import ListSnapshot
from usance.aml.qualify import Config
from usance.aml.screening import open_screener


def one(name: str = "Zorgblat Quixun", list_id: str = "own") -> ListSnapshot:
    return read_csv(f"uid,name\n1,{name}\n".encode(), list_id=list_id, version="2026-01-01")


def test_the_snapshot_id_changes_with_lists_and_configuration() -> None:
    ids = {
        open_screener([one()]).snapshot_id,
        open_screener([one("Zorgblat Quixum")]).snapshot_id,
        open_screener([one()], config=Config(floor=7_500)).snapshot_id,
    }
    assert len(ids) == 3
    assert open_screener([one()]).snapshot_id in ids


def test_the_order_of_lists_does_not_matter() -> None:
    a, b = one(list_id="a"), one(list_id="b")
    first, second = open_screener([a, b]), open_screener([b, a])
    assert first.snapshot_id == second.snapshot_id
    assert first.index == second.index


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "alien"])
def test_a_damaged_cache_is_built_anew(tmp_path: Path, damage: str) -> None:
    good = open_screener([one()], cache=tmp_path).index
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    flipped = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    path.write_bytes({"cut": data[:-5], "flip": flipped, "empty": b"", "alien": b"x" * 99}[damage])
    assert open_screener([one()], cache=tmp_path).index == good
    assert path.read_bytes() == data


def test_the_cache_is_used_and_holds_the_same_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = open_screener([one()], cache=tmp_path)

    def no_build(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr("usance.aml.index.build", no_build)
    again = open_screener([one()], cache=tmp_path)
    assert msgspec.msgpack.encode(again.index) == msgspec.msgpack.encode(built.index)


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert open_screener([one()], cache=tmp_path / "file").snapshot_id


def test_rare_words_weigh_more_and_particles_least() -> None:
    rare, common = weight_of("quixun", 1, 10_000), weight_of("muhammad", 900, 10_000)
    trade, particle = weight_of("shipping", 3, 10_000), weight_of("al", 1, 10_000)
    assert rare > common > 0
    assert rare > trade > particle > 0
