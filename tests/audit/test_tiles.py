"""Tiles: names, partial widths, bundles, and an edge that grows as the whole tree would."""

import random

import pytest

from usance.audit.codes import Detected
from usance.audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from usance.audit.tiles import (
    Edge,
    Tiles,
    bundle_path,
    pack_bundle,
    paths,
    tile_path,
    unpack_bundle,
    unpack_tile,
)

SIZES = (0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000)


def stored(size, steps=None):
    """Grow a tree in steps as a notary does: full files stay, partial ones are of each head."""
    edge, files = Edge(), {}
    dice = random.Random(size)
    while edge.size < size:
        step = min(size - edge.size, steps or dice.randrange(1, 5_000))
        files |= edge.extend([n.to_bytes(4, "big") for n in range(edge.size, edge.size + step)])
        files |= edge.partials()
    return edge, files


def test_paths_are_those_of_the_specification():
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(3, 999) == "tile/3/999"
    assert tile_path(1, 1000, 17) == "tile/1/x001/000.p/17"
    assert bundle_path(0, 255) == "tile/entries/000.p/255"
    assert bundle_path(1000) == "tile/entries/x001/000"
    for width in (0, 257, -1):
        with pytest.raises(ValueError):
            tile_path(0, 0, width)


def test_a_tree_of_70000_has_the_tiles_of_the_specifications_example():
    found = paths(70_000)
    assert sum(p.startswith("tile/0/") and ".p/" not in p for p in found) == 273
    partial = [p for p in found if ".p/" in p and p.startswith("tile/")]
    assert set(partial) == {
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/273.p/112",
    }
    assert paths(0) == []
    assert paths(256) == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]


@pytest.mark.parametrize("size", SIZES)
def test_an_edge_writes_the_files_of_its_size_and_has_the_trees_root(size):
    edge, files = stored(size)
    assert set(paths(size)) <= set(files)
    assert not any(p.endswith((".p/0", ".p/256")) for p in files)
    leaves = leaf_hashes([n.to_bytes(4, "big") for n in range(size)])
    assert edge.root() == root_of(leaves)
    assert Tiles(size, files.__getitem__).root() == edge.root()


@pytest.mark.parametrize("size", SIZES)
def test_an_edge_read_back_goes_on_as_if_it_had_never_stopped(size):
    edge, files = stored(size)
    again = Edge.load(size, files.__getitem__)
    assert (again.size, again.root(), again.partials()) == (edge.size, edge.root(), edge.partials())
    more = [b"x%d" % n for n in range(300)]
    assert again.extend(more) == edge.extend(more)
    assert again.root() == edge.root()


def test_a_partial_file_may_have_become_full_since():
    _, files = stored(600, steps=600)
    full_only = {p: d for p, d in files.items() if ".p/" not in p}

    def read(path):
        try:
            return full_only[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    old = Tiles(400, read)
    assert old.entry(399) == (399).to_bytes(4, "big")
    assert old.tile(0, 1) == leaf_hashes([n.to_bytes(4, "big") for n in range(256, 400)])


def test_proofs_come_from_tiles_alone():
    size = 70_000
    edge, files = stored(size)
    tiles = Tiles(size, files.__getitem__)
    dice = random.Random(1)
    for index in [
        0,
        255,
        256,
        65_535,
        65_536,
        size - 1,
        *(dice.randrange(size) for _ in range(50)),
    ]:
        proof = inclusion_proof(index, size, tiles.node)
        leaf = leaf_hash(tiles.entry(index))
        assert verify_inclusion(leaf, index, size, proof, edge.root())
    for old in (1, 255, 256, 257, 4_096, 65_536, size - 1):
        old_root = root_of(leaf_hashes([n.to_bytes(4, "big") for n in range(old)]))
        proof = consistency_proof(old, size, tiles.node)
        assert verify_consistency(old, size, old_root, edge.root(), proof)


def test_bundles_keep_entries_of_any_length_up_to_their_bound():
    entries = [b"", b"a", bytes(65_535)]
    assert unpack_bundle(pack_bundle(entries)) == entries
    assert pack_bundle([b"ab", b"c"]) == b"\x00\x02ab\x00\x01c"
    with pytest.raises(ValueError):
        pack_bundle([bytes(65_536)])


@pytest.mark.parametrize("cut", [b"\x00", b"\x00\x05abc", b"\xff\xff"])
def test_a_cut_bundle_is_named(cut):
    with pytest.raises(Detected) as found:
        unpack_bundle(cut)
    assert found.value.code == "MALFORMED"


@pytest.mark.parametrize("length", [0, 31, 33, 8_193, 8_224])
def test_a_tile_of_another_length_is_named(length):
    with pytest.raises(Detected) as found:
        unpack_tile(bytes(length))
    assert found.value.code == "MALFORMED"
