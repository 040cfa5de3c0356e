"""Verifying an exported tree from its folder alone, with a key that came another way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from usance.audit.codes import Detected
from usance.audit.note import Checkpoint, Verifier, open_checkpoint
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Edge, Tiles, paths

EXTRA = frozenset((CHECKPOINT, "log.vkey", "policy.txt"))
"""Files of an export beside tiles and bundles; the verifier reads none of the last two."""


def demand_whole(read: Callable[[str], bytes], names: Iterable[str], key: Verifier) -> Checkpoint:
    """Return the head of an exported tree whose every file is what the head makes.

    `names` are all files that are there, relative. Raises Detected: PACK_ALTERED, and what the head's
    signature raises.
    """
    try:
        head = open_checkpoint(read(CHECKPOINT), key)
    except FileNotFoundError as gone:
        raise Detected("PACK_ALTERED", "there is no checkpoint", where=CHECKPOINT) from gone
    due = set(paths(head.size))
    for name in sorted(set(names) ^ (due | EXTRA)):
        if name not in EXTRA:
            what = "is missing" if name in due else "does not belong to it"
            raise Detected("PACK_ALTERED", f"{name} {what}", where=name)
    edge, stored = Edge(), Tiles(head.size, read)
    try:
        for number in range(-(-head.size // TILE_WIDTH)):
            for path, data in edge.extend(stored.bundle(number)).items():
                _demand(read, path, data)
        for path, data in edge.partials().items():
            _demand(read, path, data)
    except FileNotFoundError as gone:
        raise Detected("PACK_ALTERED", f"a file is missing: {gone}") from gone
    if edge.root() != head.root:
        why = "the entries do not make the root that was signed"
        raise Detected("PACK_ALTERED", why, where=CHECKPOINT)
    return head


def _demand(read: Callable[[str], bytes], path: str, data: bytes) -> None:
    if read(path) != data:
        raise Detected("PACK_ALTERED", f"{path} is not what the entries make", where=path)
