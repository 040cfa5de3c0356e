"""Tiles made again from the log, where a last head is known and its tiles are on another machine."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from usance.audit.ports import HeadStore, LastHead, TileStore
from usance.audit.tiles import TILE_WIDTH, Edge
from usance.engine.proof.sealing import Origins, Tree, folder_of
from usance.log.contract import Log, Record

PORTION = 16 * TILE_WIDTH
"""Records hashed and written at a time."""


def remade_tree(
    last: LastHead, log: Log, tree: Tree, tiles: TileStore, diagnose: Callable[[Record], Any]
) -> Edge:
    """Return the edge of a partition's tree of as many leaves as its last head has, if the log holds them.

    `tree` is empty. Raises Detected where a record does not follow the one before, or a tile is there with
    other bytes.
    """
    folder = folder_of(tree.place)
    records = log.scan(tree.place, 0, last.offset)
    while tree.edge.size < last.size:
        portion = list(islice(records, min(PORTION, last.size - tree.edge.size)))
        if not portion:
            break
        tree.take(portion, diagnose)
        pending, tree.pending = tree.pending, []
        tiles.put({f"{folder}/{path}": data for path, data in tree.edge.extend(pending).items()})
    tiles.put({f"{folder}/{path}": data for path, data in tree.edge.partials().items()})
    return tree.edge


def remade_heads(
    last: LastHead,
    heads: HeadStore,
    tiles: TileStore,
    origins: Origins,
    signed: Callable[[LastHead], bytes],
) -> Edge:
    """Return the edge of the log of heads: each advance that grew it says which heads it took in."""
    edge, folder = Edge(), origins.folder(origins.heads)
    for moved in heads.replay():
        grown = next((head for head in moved if head.origin == origins.heads), None)
        if grown is None or edge.size >= last.size:
            continue
        entries = [signed(head) for head in sorted(moved) if head.origin != origins.heads]
        tiles.put({f"{folder}/{path}": data for path, data in edge.extend(entries).items()})
    tiles.put({f"{folder}/{path}": data for path, data in edge.partials().items()})
    return edge
