"""Tiles of C2SP tlog-tiles: their paths, what is in them, and a tree's growing right edge.

A tile of level L holds 256 hashes of subtrees of 256^L leaves each; a partial one holds fewer, has its
width in its name and never counts towards the level above. Bundles hold the entries themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from usance.audit.codes import malformed
from usance.audit.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, leaf_hashes, root_of
from usance.kernel.native import NATIVE

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
LEVELS_MAX = 8
"""Levels of tiles of the largest tree: 256^8 leaves."""
ENTRY_BYTES_MAX = 65_535
CHECKPOINT = "checkpoint"
CACHED_TILES = 512

Read = Callable[[str], bytes]
"""Path below a log's prefix -> bytes; raises FileNotFoundError where there is no such file."""


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile; `width` below 256 names a partial one."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def _number(index: int) -> str:
    """Return `x001/x234/067` for 1234067."""
    if index < 0:
        raise ValueError("a tile has an index of 0 or more")
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text


def _partial(width: int) -> str:
    if not 0 < width <= TILE_WIDTH:
        raise ValueError("a tile holds 1 to 256 hashes")
    return "" if width == TILE_WIDTH else f".p/{width}"


def paths(size: int) -> list[str]:
    """Return the paths of all tiles and bundles of a tree of `size` leaves."""
    found = [bundle_path(n) for n in range(size // TILE_WIDTH)]
    if size % TILE_WIDTH:
        found.append(bundle_path(size // TILE_WIDTH, size % TILE_WIDTH))
    level, count = 0, size
    while count:
        found += [tile_path(level, n) for n in range(count // TILE_WIDTH)]
        if count % TILE_WIDTH:
            found.append(tile_path(level, count // TILE_WIDTH, count % TILE_WIDTH))
        level, count = level + 1, count // TILE_WIDTH
    return found


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries as a bundle; raises ValueError for an entry of more than 65,535 bytes."""
    found: bytes | None = NATIVE.bundle(entries) if NATIVE else None
    return plain_bundle(entries) if found is None else found


def plain_bundle(entries: Sequence[bytes]) -> bytes:
    """Return u16 big-endian length and bytes of each entry: the reference of `bundle` in native/tree.c."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry has at most {ENTRY_BYTES_MAX} bytes")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def unpack_bundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle; raises Detected(MALFORMED) for one that is cut."""
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise malformed("an entry bundle is cut")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) > TILE_WIDTH:
        raise malformed("an entry bundle holds more than 256 entries")
    return entries


def unpack_tile(data: bytes) -> list[bytes]:
    """Return the hashes of a tile; raises Detected(MALFORMED) for a length that no tile has."""
    if not data or len(data) % HASH_BYTES or len(data) > TILE_WIDTH * HASH_BYTES:
        raise malformed("a tile has a length that no tile has")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


class Edge:
    """A tree's right edge, which is all that its writer needs: at most 255 hashes per level.

    `extend` gives the files that became full; `partials` those that a head of the present size needs.
    """

    def __init__(self) -> None:
        self.size = 0
        self.levels: list[list[bytes]] = [[]]
        self.entries: list[bytes] = []

    def extend(self, entries: Sequence[bytes]) -> dict[str, bytes]:
        """Append leaves; returns the tiles and bundles that are full now, by path."""
        files: dict[str, bytes] = {}
        first = self.size // TILE_WIDTH
        self.entries += entries
        full = len(self.entries) // TILE_WIDTH
        for n in range(full):
            part = self.entries[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            files[bundle_path(first + n)] = pack_bundle(part)
        del self.entries[: full * TILE_WIDTH]
        hashes, level, count = leaf_hashes(entries), 0, self.size
        while hashes:
            row = self.levels[level]
            row += hashes
            first, hashes = count // TILE_WIDTH, []
            full = len(row) // TILE_WIDTH
            for n in range(full):
                tile = row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
                files[tile_path(level, first + n)] = b"".join(tile)
                hashes.append(root_of(tile))
            del row[: full * TILE_WIDTH]
            level, count = level + 1, first
            if level == len(self.levels):
                self.levels.append([])
        self.size += len(entries)
        return files

    def partials(self) -> dict[str, bytes]:
        """Return the partial tiles and the partial bundle of the present size, by path."""
        files: dict[str, bytes] = {}
        if self.entries:
            files[bundle_path(self.size // TILE_WIDTH, len(self.entries))] = pack_bundle(
                self.entries
            )
        count = self.size
        for level, row in enumerate(self.levels):
            if row:
                files[tile_path(level, count // TILE_WIDTH, len(row))] = b"".join(row)
            count //= TILE_WIDTH
        return files

    def root(self) -> bytes:
        """Return the root of the present tree."""
        value: list[bytes] = []
        for row in self.levels:
            if row or value:
                value = [root_of([*row, *value])]
        return value[0] if value else EMPTY_ROOT

    @classmethod
    def load(cls, size: int, read: Read) -> Edge:
        """Return the edge of a stored tree of `size` leaves.

        Raises FileNotFoundError for a tile that is missing, Detected(MALFORMED) for one of a wrong shape.
        """
        edge, tiles = cls(), Tiles(size, read)
        edge.size, edge.levels = size, []
        if width := size % TILE_WIDTH:
            edge.entries = tiles.bundle(size // TILE_WIDTH)[:width]
        count, level = size, 0
        while count or level == 0:
            width = count % TILE_WIDTH
            edge.levels.append(
                list(tiles.tile(level, count // TILE_WIDTH)[:width]) if width else []
            )
            count, level = count // TILE_WIDTH, level + 1
        edge.levels.append([])
        return edge


class Tiles:
    """A stored tree of `size` leaves, read tile by tile; `node` serves the proofs of `merkle`."""

    def __init__(self, size: int, read: Read) -> None:
        self.size = size
        self._read = read
        self.tile = lru_cache(CACHED_TILES)(self._tile)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree of 2^level leaves."""
        height, span = level // TILE_HEIGHT, 1 << level % TILE_HEIGHT
        first = index * span
        tile = self.tile(height, first // TILE_WIDTH)
        part = tile[first % TILE_WIDTH : first % TILE_WIDTH + span]
        if len(part) != span:
            raise malformed("a tile is shorter than the tree needs")
        return root_of(part)

    def root(self) -> bytes:
        """Return the root that the stored tiles make."""
        value: list[bytes] = []
        count, level = self.size, 0
        while count:
            if width := count % TILE_WIDTH:
                row = self.tile(level, count // TILE_WIDTH)[:width]
                value = [root_of([*row, *value])]
            count, level = count // TILE_WIDTH, level + 1
        return value[0] if value else EMPTY_ROOT

    def entry(self, index: int) -> bytes:
        """Return one entry."""
        if not 0 <= index < self.size:
            raise ValueError(f"a tree of {self.size} leaves has no leaf {index}")
        return self.bundle(index // TILE_WIDTH)[index % TILE_WIDTH]

    def bundle(self, index: int) -> list[bytes]:
        """Return the entries of one bundle that belong to this tree."""
        width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
        entries = unpack_bundle(self._file(bundle_path(index, width), bundle_path(index)))
        if len(entries) < width:
            raise malformed("an entry bundle holds fewer entries than its name says")
        return entries[:width]

    def _tile(self, level: int, index: int) -> list[bytes]:
        width = min(TILE_WIDTH, (self.size >> TILE_HEIGHT * level) - index * TILE_WIDTH)
        hashes = unpack_tile(self._file(tile_path(level, index, width), tile_path(level, index)))
        if len(hashes) < width:
            raise malformed("a tile holds fewer hashes than its name says")
        return hashes[:width]

    def _file(self, path: str, full: str) -> bytes:
        """Read a partial file, or the full one that took its place since."""
        try:
            return self._read(path)
        except FileNotFoundError:
            if path == full:
                raise
            return self._read(full)


def served(path: str, read: Read) -> bytes:
    """Return a tile or bundle by its path; a partial one that became full since is cut to its old width.

    Raises FileNotFoundError where neither is there.
    """
    try:
        return read(path)
    except FileNotFoundError:
        full, partial, width = path.partition(".p/")
        if not partial:
            raise
        data = read(full)
    if full.startswith("tile/entries/"):
        return pack_bundle(unpack_bundle(data)[: int(width)])
    return data[: HASH_BYTES * int(width)]


def holds(entry: bytes, hashed: bytes) -> bool:
    """Tell whether an entry is the one of a leaf hash."""
    return leaf_hash(entry) == hashed
