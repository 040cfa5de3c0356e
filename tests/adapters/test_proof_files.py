"""Tiles as files, written by the extension in one go and by Python one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from usance.adapters import proof_files
from usance.adapters.proof_files import FolderTiles
from usance.audit.codes import Detected
from usance.kernel import native
from usance.kernel.errors import Unavailable

FILES = {
    "trade.events/p000/tile/0/x001/234": b"a" * 8_192,
    "trade.events/p000/tile/0/x001/235.p/17": b"b" * 544,
    "trade.events/p000/tile/entries/x001/234": b"",
    "checkpoint": b"head\n",
}


@pytest.fixture(params=[pytest.param("native", marks=pytest.mark.native), "python"], autouse=True)
def writer(request: Any, monkeypatch: Any) -> Any:
    extension = native.load()[0] if request.param == "native" else None
    monkeypatch.setattr(proof_files, "NATIVE", extension)


def files_in(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_put_is_there_whole_and_nothing_else(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path / "made" / "for it")
    tiles.put(FILES)
    assert files_in(tiles.root) == FILES
    assert all(tiles.read(path) == data for path, data in FILES.items())
    tiles.put({})
    tiles.put(FILES)
    assert files_in(tiles.root) == FILES


def test_what_a_crash_left_is_finished(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path)
    first, *rest = FILES
    tiles.put({first: FILES[first]})
    torn = tmp_path / f"{rest[0]}{proof_files.PART}"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"torn, and longer than what is to be there" * 40)
    tiles.put(FILES)
    assert files_in(tmp_path) == FILES


def test_a_file_with_other_bytes_is_never_replaced(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path)
    tiles.put({"checkpoint": b"another head\n"})
    with pytest.raises(Detected) as found:
        tiles.put(FILES)
    assert found.value.code == "TILE_MISMATCH" and "checkpoint" in found.value.where
    assert tiles.read("checkpoint") == b"another head\n"


def test_what_is_published_takes_the_place_of_what_was(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path)
    for data in (b"one\n", b"two, which is longer\n", b"3\n"):
        tiles.publish("heads/checkpoint", data)
        assert files_in(tmp_path) == {"heads/checkpoint": data}


def test_folders_of_partial_files_are_dropped_and_others_stay(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path)
    tiles.put({"tile/0/000": b"full", "tile/0/000.p/3": b"x", "tile/0/000.p/9": b"y"})
    tiles.drop(["tile/0/000.p", "tile/0/001.p"])
    assert files_in(tmp_path) == {"tile/0/000": b"full"}
    assert not (tmp_path / "tile/0/000.p").exists()
    tiles.drop([])


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "no folder").write_bytes(b"")
    tiles = FolderTiles(tmp_path / "no folder")
    with pytest.raises(Unavailable, match="cannot be written"):
        tiles.put(FILES)
    with pytest.raises(Unavailable, match="cannot be written"):
        tiles.publish("checkpoint", b"head\n")


def test_a_name_that_no_disk_takes_is_an_error_and_no_crash(tmp_path: Path) -> None:
    tiles = FolderTiles(tmp_path)
    with pytest.raises(Unavailable):
        tiles.put({"x" * 300: b""})


@pytest.mark.native
def test_the_extension_takes_bytes_alone() -> None:
    extension = native.load()[0]
    for wrong in ([("a", b"")], [(b"a", "")], [(b"a\0b", b"")], [b"a"], [(b"x" * 5_000, b"")]):
        with pytest.raises(TypeError):
            extension.store_files(wrong, True)
    with pytest.raises(TypeError):
        extension.store_files((), True)
    for wrong in ([""], (b"",), [b"x" * 5_000]):
        with pytest.raises(TypeError):
            extension.drop_folders(wrong)
    assert extension.store_files([], False) is None
