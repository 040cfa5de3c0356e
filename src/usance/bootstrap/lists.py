"""Sanctions lists of a data folder: those that came with the product, or what was imported since.

An import keeps every active list in `lists/`, whole, so that a start needs no publisher's format; it
takes effect when the owner starts. Nothing is kept that the gate holds back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from usance.aml.list_formats import read_csv, read_ofac, read_un_xml, shipped_lists
from usance.aml.lists import GateFinding, ListSnapshot, unpacked
from usance.aml.screening import gate
from usance.kernel.errors import Refused, Unreadable

FILES_OF_OFAC = 4


def active_lists(folder: Path) -> list[ListSnapshot] | None:
    """Return the imported lists of a data folder; None where only the shipped ones are active."""
    files = sorted((folder / "lists").glob("*.msgpack"))
    if not files:
        return None
    try:
        return [msgspec.msgpack.decode(f.read_bytes(), type=ListSnapshot) for f in files]
    except (OSError, msgspec.DecodeError) as error:
        raise Unreadable(
            "list",
            f"an imported list cannot be read: {error}",
            hint="Import it again, or remove the folder `lists` to use the shipped ones.",
        ) from error


def read_list(files: Sequence[Path], list_id: str, version: str, now: int) -> ListSnapshot:
    """Read a publisher's file: UN XML, the four OFAC files, or our CSV; raises Unreadable.

    OFAC's order is primary, alternate names, addresses, comments; they and CSV do not carry their
    `version` (YYYY-MM-DD), so it has to be given.
    """
    parts = [file.read_bytes() for file in files]
    if len(parts) == 1 and unpacked(parts[0]).lstrip()[:1] == b"<":
        return read_un_xml(parts[0], loaded_at=now)
    if not version or not list_id:
        raise Unreadable(
            "list", "this file does not say which list and version it is", hint="--list, --version"
        )
    if len(parts) == FILES_OF_OFAC:
        return read_ofac(*parts, list_id=list_id, version=version, loaded_at=now)
    if len(parts) == 1:
        return read_csv(parts[0], list_id=list_id, version=version, loaded_at=now)
    raise Unreadable("list", "one file, or the four of OFAC", hint="See usance list import --help.")


def import_list(
    folder: Path, new: ListSnapshot, *, approve_count: bool, keep: bool
) -> tuple[GateFinding, ...]:
    """Hold a list against the gate and keep it unless `keep` is false; returns what it found.

    Raises Refused when a finding blocks: the active list then stays.
    """
    lists = {s.list_id: s for s in active_lists(folder) or shipped_lists()}
    previous = lists.get(new.list_id)
    found = gate(new, previous.info if previous else None, approve_count=approve_count)
    blocking = [f for f in found if f.blocks]
    if blocking:
        raise Refused(
            blocking[0].code,
            f"{blocking[0].message} ({len(blocking)} findings); the active list stays",
            hint="Fetch the file again; --approve-count accepts a changed number of entries.",
        )
    if keep:
        lists[new.list_id] = new
        target = folder / "lists"
        target.mkdir(parents=True, exist_ok=True)
        for snapshot in lists.values():
            part = target / f".{snapshot.list_id}.part"
            part.write_bytes(msgspec.msgpack.encode(snapshot))
            part.rename(target / f"{snapshot.list_id}.msgpack")
    return found
