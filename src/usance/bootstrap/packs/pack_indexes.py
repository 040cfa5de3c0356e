"""Whether the counts that were sealed when packs were handed over are those of the log."""

from __future__ import annotations

from usance.audit.pack import Index
from usance.audit.ports import TileStore
from usance.audit.report import Finding
from usance.audit.tiles import Tiles
from usance.bootstrap.packs.pack_scope import Request, Scan
from usance.bootstrap.store import Store
from usance.domain.export import PackExported
from usance.engine.proof.sealing import folder_of
from usance.kernel.errors import UsanceError
from usance.log.contract import header

TYPE = b"usance.system.PackExported"
_ANY = Request("credit", "")


def wrong_indexes(store: Store, tiles: TileStore) -> list[Finding]:
    """Return a finding for each hand-over whose index of streams is not what the log's own records make."""
    known: dict[tuple[str, int], Index | None] = {}
    found = []
    for number in range(store.topics.partitions):
        place = store.topics.at("system", "events", number)
        for record in store.log.scan(place, 0):
            if header(record.headers, "ce_type") != TYPE:
                continue
            message: PackExported = store.closed.message(record.headers, record.value)
            for said in message.indexes:
                at = (said.tree, said.size)
                if at not in known:
                    known[at] = _index(store, tiles, *at)
                index = known[at]
                if index is None or (index.entries, index.root) != (said.entries, said.root):
                    where = f"{folder_of(place)}#{store.closed.meta(record.headers).index}"
                    found.append(_finding(where, said.tree, message.pack))
    return found


def _index(store: Store, tiles: TileStore, tree: str, size: int) -> Index | None:
    """Return the index of a tree's first records; None where there is no such tree."""
    topic, _, number = tree.partition("/p")
    context, _, kind = topic.partition(".")
    try:
        records = store.log.scan(store.topics.at(context, kind, int(number)), 0, None, 5_000)
        stored = Tiles(size, lambda path: tiles.read(f"{tree}/{path}"))
        return Scan(tree, stored, records, store.closed, _ANY).index()
    except (UsanceError, FileNotFoundError, ValueError):
        return None


def _finding(where: str, tree: str, pack: str) -> Finding:
    return Finding(
        code="INCOMPLETE",
        where=where,
        reason=f"the pack {pack} was handed over with other counts of {tree} than the log has",
        hint="Whoever has that pack may lack events: make it anew, and compare.",
    )
